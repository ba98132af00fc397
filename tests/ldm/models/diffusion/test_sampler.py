"""Laws of all samplers, and of what they are built from, at any rank: frames (B, C, H, W) and actions (B, K, D)."""

import pytest
import torch

from ldm.models.diffusion.conditioning import Conditioning, drop_conditioning
from ldm.models.diffusion.guidance import DualGuidance
from ldm.models.diffusion.sampling import SAMPLERS, SamplingOptions, make_sampler
from ldm.models.diffusion.schedule import NoiseSchedule


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 8, 14), (2, 5)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_guided_denoiser_gives_the_clean_sample_of_any_rank(sampler, shape):
    schedule = NoiseSchedule(1000, 0.00085, 0.012)
    start, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    options = SamplingOptions(steps=5, text_scale=2.0, image_scale=1.5, sampler=sampler)
    cond = Conditioning(torch.ones(shape), torch.ones(2, 3, 4))

    def denoise(x_t, t, _):
        return schedule.predict_eps(x_t, t, start.repeat(len(x_t) // 2, *[1] * (len(shape) - 1)))

    guided = DualGuidance(denoise, cond, cond, options.text_scale, options.image_scale, rescale=0.5)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    sample = make_sampler(schedule, options).sample(guided, noise, generators)
    torch.testing.assert_close(sample, start, atol=1e-3, rtol=1e-3)
    hidden = drop_conditioning(cond, torch.zeros(1, 3, 4), torch.tensor([0.05, 0.5]), 0.05)
    assert hidden.concat.shape == shape and not hidden.concat[0].any() and hidden.concat[1].all()
