"""Laws of DPM-Solver++ (2M)."""

import pytest
import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.dpm_solver import DPMSolverSampler
from ldm.models.diffusion.schedule import NoiseSchedule
from ldm.models.diffusion.timesteps import spaced_timesteps


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule(1000, 0.00085, 0.012)


@pytest.mark.parametrize("steps", [1, 3, 37, 999])
def test_a_perfect_denoiser_gives_the_clean_latent(schedule, steps):
    x_start = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    result = DPMSolverSampler(schedule, steps).sample(lambda x_t, t: schedule.predict_eps(x_t, t, x_start), noise)
    torch.testing.assert_close(result, x_start, atol=1e-3, rtol=1e-3)


def test_the_denoiser_is_called_once_a_step(schedule):
    calls = []
    DPMSolverSampler(schedule, 13).sample(lambda x_t, t: calls.append(t) or x_t, torch.zeros(1, 1, 2, 2))
    assert [int(t) for t in calls] == spaced_timesteps(1000, 13, "trailing")


def test_one_step_is_ddim(schedule):
    """Without an earlier estimate the first and only step is of first order."""
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
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


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(schedule, steps):
    with pytest.raises(ValueError, match="wanted 1 to 1000"):
        DPMSolverSampler(schedule, steps)


@pytest.mark.reference
@pytest.mark.parametrize("steps", [1, 4, 10, 20, 50])
def test_equal_to_diffusers(schedule, steps):
    """Same latents as diffusers' DPMSolverMultistepScheduler with the same model outputs."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def denoise(x_t, t):
        return torch.sin(3 * x_t + t[0] / 100)

    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoise(x_t, t[None]), t, x_t).prev_sample
    torch.testing.assert_close(DPMSolverSampler(schedule, steps).sample(denoise, noise), x_t, atol=1e-4, rtol=1e-4)
