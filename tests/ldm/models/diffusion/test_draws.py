"""Laws of what chance decides."""

import torch

from ldm.models.diffusion.draws import draw_training


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
