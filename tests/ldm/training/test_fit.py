"""What a training run sets for its time alone."""

import torch

from ldm.training.fit import denormals_as_zero


def test_numbers_too_small_to_be_quick_are_zero_while_a_run_trains_and_not_after():
    tiny = torch.full((4,), 1e-30)
    with denormals_as_zero():
        assert not (tiny * 1e-10).any()
    assert (tiny * 1e-10).all()
