"""Laws of the DDIM sampler."""

import pytest
import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.timesteps import spaced_timesteps


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_every_step_count_is_honoured(schedule, spacing):
    """ldm takes 8 steps when asked for 7 and crashes at 599; we take what was asked, distinct and falling."""
    for steps in range(1, schedule.timesteps + 1):
        timesteps = spaced_timesteps(schedule.timesteps, steps, spacing)
        assert len(timesteps) == steps
        assert all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
        assert timesteps[-1] >= 0 and timesteps[0] < schedule.timesteps


def test_linspace_is_numpys():
    for steps in (2, 4, 10, 28, 38, 1000):
        assert spaced_timesteps(1000, steps, "linspace") == [999 - 999 * i // (steps - 1) for i in range(steps)]
    with pytest.raises(ValueError, match="not one of"):
        spaced_timesteps(1000, 3, "quadratic")


@pytest.mark.reference
@pytest.mark.parametrize(("steps", "eta"), [(10, 0.0), (40, 0.0), (1, 0.0)])
def test_equal_to_diffusers(schedule, noise, steps, eta):
    """Same latents as diffusers' DDIMScheduler with the same model outputs.

    For step counts that divide 1000: for others its previous timestep is t - 1000 // steps, not the next one taken.
    """
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(steps)

    def denoise(x_t, t):
        return torch.sin(3 * x_t + t[0] / 100)

    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoise(x_t, t.expand(2)), t, x_t, eta=eta).prev_sample
    torch.testing.assert_close(DDIMSampler(schedule, steps, eta).sample(denoise, noise), x_t, atol=1e-4, rtol=1e-4)
