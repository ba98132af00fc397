"""Foresight: draws follow the Gaussian it says, an absent object costs nothing, the mean learns without the spread."""

import pytest
import torch

from ldm.models.diffusion.conditioning import TrainingDraws
from ldm.models.diffusion.vector_conditioning import VectorConditioning
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


def test_target_frames_teach_to_see_and_further_moments_to_foresee(foresight):
    """Each adds to its own part of the loss, and reaches its own weights."""
    told = VectorConditioning(6, foresight, decode=lambda context: context)
    draws = TrainingDraws(*[torch.zeros(2)] * 3, [torch.Generator() for _ in range(2)])
    known, states = torch.ones(2, S, dtype=torch.bool), torch.randn(2, 2, S)
    batch = {"state": states, "state_known": known, "seconds": torch.ones(2)}

    def losses(**more):
        frames, text = torch.ones(2, 3, 16, 16), torch.ones(2, 7, 4)
        return told.for_training(frames, text, batch | more, draws, teach=True)[1]

    def learnt(loss):
        foresight.zero_grad()
        loss.backward()
        return {name.split(".")[0] for name, p in foresight.named_parameters() if p.grad is not None and p.grad.any()}

    plain, seen = losses(), losses(target_frame=torch.ones(2, 3, 16, 16))
    now = foresight.see(torch.ones(2, 3, 16, 16))
    further_off = (now - states[:, 1]).abs().mean()
    torch.testing.assert_close(2 * seen["state_now"] - plain["state_now"], further_off)
    assert seen["state_then"] == plain["state_then"]
    further = losses(more_state=torch.randn(2, 3, 2, S), more_seconds=torch.ones(2, 3))
    assert further["state_now"] == plain["state_now"] and further["state_then"] > plain["state_then"]
    assert learnt(further["state_now"]) == {"encoder", "norm", "locate"}
    assert learnt(further["state_then"]) == {"advance", "change"}


def test_the_drawing_network_is_told_the_truth_or_the_mean_with_its_doubt(foresight, foreseen):
    truth = torch.full((8, S), 7.0)
    coins = torch.tensor([0.0, 0.2, 0.3, 0.9] * 2)
    told = foresight.teach(foreseen, truth, coins)
    assert torch.equal(told[coins < 0.25], torch.cat([truth, torch.zeros(8, S)], dim=1)[coins < 0.25])
    assert torch.equal(told[coins > 0.25][:, S:], foreseen.std[coins > 0.25]) and not told.requires_grad
    assert torch.equal(foresight.tell(foreseen)[:, S:], 0.5 * foreseen.std)
