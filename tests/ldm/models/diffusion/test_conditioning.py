"""Laws of conditioning, its dropout, and what chance decides."""

import pytest
import torch

from ldm.models.diffusion.conditioning import Conditioning, draw_training, drop_conditioning, make_null


def dropped(num, probability, seed=0):
    cond = Conditioning(torch.ones(num, 1, 1, 1), torch.ones(num, 2, 3))
    u = torch.rand(num, generator=torch.Generator().manual_seed(seed))
    result = drop_conditioning(cond, torch.zeros(1, 2, 3), u, probability)
    return result.crossattn[:, 0, 0] == 0, result.concat[:, 0, 0, 0] == 0


def test_text_both_and_frame_are_each_hidden_with_the_probability():
    """Three rates of 5% within four standard deviations; joint, not independent (which would give 1% both)."""
    num, p = 100_000, 0.05
    no_text, no_frame = dropped(num, p)
    bound = 4 * (p * (1 - p) / num) ** 0.5
    for event in (no_text & ~no_frame, no_text & no_frame, ~no_text & no_frame):
        assert abs(event.float().mean().item() - p) < bound
    assert not any(hidden.any() for hidden in dropped(1000, 0.0))
    with pytest.raises(ValueError, match="1/3"):
        dropped(3, 0.4)


def test_conditions_are_stacked_in_order_projected_or_not():
    layer = torch.nn.Identity()
    parts = [Conditioning(torch.full((2, 1, 1, 1), n), torch.full((2, 2, 3), n)) for n in (1.0, 2.0)]
    projected = [Conditioning(part.concat, {layer: part.crossattn}) for part in parts]
    plain, same = Conditioning.stack(parts), Conditioning.stack(projected)
    assert plain.concat.flatten().tolist() == [1, 1, 2, 2] and plain.crossattn[:, 0, 0].tolist() == [1, 1, 2, 2]
    assert torch.equal(same.concat, plain.concat) and torch.equal(same.crossattn[layer], plain.crossattn)


def test_the_arguments_are_not_written_to():
    cond = Conditioning(torch.ones(4, 1, 1, 1), torch.ones(4, 2, 3))
    drop_conditioning(cond, torch.zeros(1, 2, 3), torch.zeros(4), 0.05)
    make_null(cond, torch.zeros(1, 2, 3))
    assert (cond.concat == 1).all() and (cond.crossattn == 1).all()


def test_draws_depend_on_the_samples_seed_alone():
    """Not on the batch: accumulation and devices do not change the noise."""
    shape, levels, device = (4, 2, 2), torch.arange(1000), torch.device("cpu")
    together = draw_training(torch.tensor([5, 6, 7]), shape, levels, device)
    alone = draw_training(torch.tensor([6]), shape, levels, device)
    assert together.t[1] == alone.t[0] and together.u[1] == alone.u[0]
    assert torch.equal(together.eps[1], alone.eps[0])


def test_only_the_given_levels_are_drawn():
    draws = draw_training(torch.arange(64), (1, 1, 1), torch.tensor([999, 499]), torch.device("cpu"))
    assert set(draws.t.tolist()) == {999, 499}
