"""Foresight: draws follow the Gaussian it says, an absent object costs nothing, the mean learns without the spread."""

import pytest
import torch

from ldm.modules.foresight import Foreseen, Foresight

S, R = 5, 2


@pytest.fixture
def foresight():
    torch.manual_seed(0)
    encoder = {"channels": 8, "keypoints": 2, "blocks": 1, "values": 2}
    return Foresight(encoder, state=S, text=4, ahead=6, hidden=16, layers=2, rank=R, doubt=0.5, reveal=0.25)


@pytest.fixture
def foreseen(foresight):
    return foresight(torch.rand(8, 3, 16, 16), torch.rand(8, 4), torch.rand(8, 6))


def test_draws_have_the_mean_and_the_spread_that_are_told():
    factor = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
    said = Foreseen(torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]]), torch.full((1, 3), 0.5).log(), factor)
    draws = torch.cat([said.draw([torch.Generator().manual_seed(seed)]) for seed in range(2000)])
    torch.testing.assert_close(draws.mean(dim=0), said.mean[0], atol=0.1, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), said.std[0], atol=0.1, rtol=0)
    assert torch.corrcoef(draws.T)[0, 1] == pytest.approx(0.8, abs=0.05), "what is unsure moves together"


def test_what_a_task_has_not_costs_nothing_and_the_spread_leaves_the_mean_alone(foresight, foreseen):
    known = torch.arange(S).expand(8, S) < 3
    state = torch.zeros(8, 2, S)
    away = state + 1e3 * ~known[:, None]
    torch.testing.assert_close(foreseen.losses(away, known), foreseen.losses(state, known))
    parts = foreseen.losses(torch.randn(8, 2, S), known)
    parts["state_spread"].backward()
    learnt = {name.split(".")[0] for name, p in foresight.named_parameters() if p.grad is not None and p.grad.any()}
    assert learnt == {"spread"}


def test_the_drawing_network_is_told_the_truth_or_the_mean_with_its_doubt(foresight, foreseen):
    truth = torch.full((8, S), 7.0)
    coins = torch.tensor([0.0, 0.2, 0.3, 0.9] * 2)
    told = foresight.teach(foreseen, truth, coins)
    assert torch.equal(told[coins < 0.25], torch.cat([truth, torch.zeros(8, S)], dim=1)[coins < 0.25])
    assert torch.equal(told[coins > 0.25][:, S:], foreseen.std[coins > 0.25]) and not told.requires_grad
    assert torch.equal(foresight.tell(foreseen)[:, S:], 0.5 * foreseen.std)
