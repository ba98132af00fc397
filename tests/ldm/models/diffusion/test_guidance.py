"""Laws of two-way guidance; conditions are numbers that the fake denoiser returns."""

import pytest
import torch

from ldm.models.diffusion.conditioning import Conditioning, make_null
from ldm.models.diffusion.guidance import DualGuidance


@pytest.fixture
def case():
    frame, text = 1.0, 10.0
    cond = Conditioning(torch.full((2, 1, 2, 2), frame), torch.full((2, 3, 4), text))
    calls = []

    def denoise(x_t, t, cond):
        calls.append(len(x_t))
        return x_t + cond.concat + cond.crossattn.mean(dim=(1, 2))[:, None, None, None]

    return denoise, cond, make_null(cond, torch.zeros(1, 3, 4)), calls


@pytest.mark.parametrize(
    ("text_scale", "image_scale", "expected", "branches"),
    [(1, 1, 11.0, 1), (0, 1, 1.0, 1), (0, 0, 0.0, 1), (7.5, 1.0, 76.0, 2), (7.5, 1.5, 76.5, 3), (1.5, 1.5, 16.5, 2)],
)
def test_scales_mix_the_branches_of_equation_3(case, text_scale, image_scale, expected, branches):
    """e(none) + s_I (e(frame) - e(none)) + s_T (e(frame, text) - e(frame)); useless branches are not computed."""
    denoise, cond, null, calls = case
    eps = DualGuidance(denoise, cond, null, text_scale, image_scale)(torch.zeros(2, 1, 2, 2), torch.zeros(2))
    torch.testing.assert_close(eps, torch.full((2, 1, 2, 2), expected))
    assert calls == [branches * 2], "one network call for all branches"
