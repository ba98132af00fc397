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


def test_outside_the_interval_the_full_branch_alone_is_computed(case):
    denoise, cond, null, calls = case
    guided = DualGuidance(denoise, cond, null, 7.5, 1.5, interval=(100, 500))
    x_t = torch.zeros(2, 1, 2, 2)
    torch.testing.assert_close(guided(x_t, torch.tensor([501, 501])), torch.full_like(x_t, 11.0))
    torch.testing.assert_close(guided(x_t, torch.tensor([500, 500])), torch.full_like(x_t, 76.5))
    assert calls == [2, 6]


def test_rescale_gives_the_full_branchs_deviation():
    """With rescale 1 each sample deviates as much as the full branch does; with 0 as guidance made it."""
    cond = Conditioning(torch.ones(2, 1, 4, 4), torch.full((2, 3, 4), 2.0))
    x_t = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def denoise(x_t, t, cond):
        return x_t * (1 + cond.concat + cond.crossattn.mean(dim=(1, 2))[:, None, None, None])

    def deviation(rescale, text_scale=5.0):
        null = make_null(cond, torch.zeros(1, 3, 4))
        guided = DualGuidance(denoise, cond, null, text_scale, 2.0, rescale=rescale)(x_t, torch.zeros(2))
        return guided.std(dim=(1, 2, 3))

    full = (4 * x_t).std(dim=(1, 2, 3))
    torch.testing.assert_close(deviation(1.0), full)
    torch.testing.assert_close(deviation(1.0, text_scale=0.0), full)
    torch.testing.assert_close(deviation(0.5), (deviation(0.0) + full) / 2)


@pytest.mark.reference
def test_rescale_is_diffusers(case):
    pipeline = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    _, cond, null, _ = case
    guided, full = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = DualGuidance(None, cond, null, 7.5, 1.5, rescale=0.7)._rescaled(guided, full)
    torch.testing.assert_close(ours, pipeline.rescale_noise_cfg(guided, full, guidance_rescale=0.7))
