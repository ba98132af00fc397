"""Laws of DPM-Solver++ (2M)."""

import pytest
import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler


def test_one_step_is_ddim(schedule, noise):
    """Without an earlier estimate the first and only step is of first order."""
    one, other = (
        make(schedule, 1).sample(lambda x_t, t: torch.sin(x_t), noise) for make in (DPMSolverSampler, DDIMSampler)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("steps", [10, 20])
def test_it_makes_less_than_half_of_ddims_error(schedule, steps):
    """Latents normal with unit deviation have a known denoiser and a known flow, so the error is known."""

    def denoise(x_t, t):
        return schedule.rates(t, x_t)[1] * x_t

    start = torch.ones(1, 1, 1, 1)
    errors = [
        float((make(schedule, steps).sample(denoise, start) - 1).abs()) for make in (DPMSolverSampler, DDIMSampler)
    ]
    assert errors[0] < 0.5 * errors[1], errors


@pytest.mark.reference
@pytest.mark.parametrize("steps", [1, 4, 10, 20, 50])
def test_equal_to_diffusers(schedule, noise, steps):
    """Same latents as diffusers' DPMSolverMultistepScheduler with the same model outputs."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)

    def denoise(x_t, t):
        return torch.sin(3 * x_t + t[0] / 100)

    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoise(x_t, t[None]), t, x_t).prev_sample
    torch.testing.assert_close(DPMSolverSampler(schedule, steps).sample(denoise, noise), x_t, atol=1e-4, rtol=1e-4)
