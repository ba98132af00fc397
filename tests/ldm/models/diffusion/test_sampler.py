"""Laws of all samplers, and of what they are built from, at any rank: frames (B, C, H, W) and actions (B, K, D)."""

from collections.abc import Callable

import pytest
import torch

from ldm.models.diffusion.conditioning import Conditioning, drop_conditioning
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.euler_ancestral import EulerAncestralSampler
from ldm.models.diffusion.guidance import DualGuidance
from ldm.models.diffusion.sampler import noise_like_each
from ldm.models.diffusion.sampling import SAMPLERS, SamplingOptions, make_sampler
from ldm.models.diffusion.timesteps import SAMPLER_NAMES

MADE = {  # each kind of sampler, with and without noise
    "ddim": DDIMSampler,
    "ddim with noise": lambda schedule, steps: DDIMSampler(schedule, steps, 1.0),
    "dpm_solver": DPMSolverSampler,
    "euler_ancestral": EulerAncestralSampler,
    "euler": lambda schedule, steps: EulerAncestralSampler(schedule, steps, eta=0.0),
}


@pytest.fixture(params=MADE)
def make(request) -> Callable:
    return MADE[request.param]


def seeded(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("steps", [1, 3, 37, 999])
def test_a_perfect_denoiser_gives_the_clean_latent(schedule, noise, make, steps):
    """With the true noise of every x_t, any number of steps ends at x0; the denoiser is called once a step."""
    x_start, calls = noise.flip(-1), []

    def denoise(x_t, t):
        calls.append(float(t[0]))
        return schedule.predict_eps(x_t, t, x_start)

    result = make(schedule, steps).sample(denoise, noise, seeded([0, 1]))
    torch.testing.assert_close(result, x_start, atol=1e-3, rtol=1e-3)
    assert len(calls) == steps and calls == sorted(calls, reverse=True) and calls[0] == 999, "begins at pure noise"


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(schedule, make):
    def draw(seeds):
        generators = seeded(seeds)
        noise = noise_like_each(torch.empty(len(seeds), 4, 4, 4), generators)
        return make(schedule, 7).sample(lambda x_t, t: 0.5 * x_t, noise, generators)

    torch.testing.assert_close(draw([3, 1, 2])[1:2], draw([1]), atol=0, rtol=0)


def test_impossible_settings_are_refused(schedule, make, noise):
    for steps in (0, -1, 1001):
        with pytest.raises(ValueError, match="wanted 1 to 1000"):
            make(schedule, steps)
    if make in (MADE["ddim with noise"], EulerAncestralSampler):
        with pytest.raises(ValueError, match="one generator a sample"):
            make(schedule, 3).sample(lambda x_t, t: x_t, noise)
    with pytest.raises(ValueError, match="outside"):
        EulerAncestralSampler(schedule, 3, eta=2.0)


def test_the_names_that_command_lines_offer_are_those_of_the_samplers():
    assert tuple(SAMPLERS) == SAMPLER_NAMES


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 8, 14), (2, 5)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_guided_denoiser_gives_the_clean_sample_of_any_rank(schedule, sampler, shape):
    start, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    options = SamplingOptions(steps=5, text_scale=2.0, image_scale=1.5, sampler=sampler)
    cond = Conditioning(torch.ones(shape), torch.ones(2, 3, 4))

    def denoise(x_t, t, _):
        return schedule.predict_eps(x_t, t, start.repeat(len(x_t) // 2, *[1] * (len(shape) - 1)))

    guided = DualGuidance(denoise, cond, cond, options.text_scale, options.image_scale, rescale=0.5)
    sample = make_sampler(schedule, options).sample(guided, noise, seeded([1, 2]))
    torch.testing.assert_close(sample, start, atol=1e-3, rtol=1e-3)
    hidden = drop_conditioning(cond, torch.zeros(1, 3, 4), torch.tensor([0.05, 0.5]), 0.05)
    assert hidden.concat.shape == shape and not hidden.concat[0].any() and hidden.concat[1].all()
