"""Laws of the DDIM sampler."""

import pytest
import torch

from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.sampler import noise_like_each
from ldm.models.diffusion.schedule import NoiseSchedule
from ldm.models.diffusion.timesteps import spaced_timesteps


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule(1000, 0.00085, 0.012)


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


def test_trailing_begins_at_pure_noise():
    for steps in (1, 3, 50, 999):
        assert spaced_timesteps(1000, steps, "trailing")[0] == 999


@pytest.mark.parametrize("steps", [1, 3, 37, 999])
def test_a_perfect_denoiser_gives_the_clean_latent(schedule, steps):
    """With eta 0 and the true noise of every x_t, any number of steps ends at x0."""
    x_start = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))

    def denoise(x_t, t):
        return schedule.predict_eps(x_t, t, x_start)

    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    result = DDIMSampler(schedule, steps).sample(denoise, noise)
    torch.testing.assert_close(result, x_start, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_depends_on_its_seed_and_not_on_its_batch(schedule, eta):
    def draw(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = noise_like_each(torch.empty(len(seeds), 4, 4, 4), generators)
        return DDIMSampler(schedule, 7, eta).sample(lambda x_t, t: 0.5 * x_t, noise, generators)

    together = draw([3, 1, 2])
    torch.testing.assert_close(together[1:2], draw([1]), atol=0, rtol=0)


def test_the_denoiser_is_called_once_a_step(schedule):
    calls = []
    DDIMSampler(schedule, 13).sample(lambda x_t, t: calls.append(t) or x_t, torch.zeros(1, 1, 2, 2))
    assert [int(t) for t in calls] == spaced_timesteps(1000, 13, "trailing")


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(schedule, steps):
    with pytest.raises(ValueError, match="wanted 1 to 1000"):
        DDIMSampler(schedule, steps)


def test_noise_without_generators_is_refused(schedule):
    with pytest.raises(ValueError, match="one generator a sample"):
        DDIMSampler(schedule, 3, eta=0.5).sample(lambda x_t, t: x_t, torch.zeros(1, 1, 2, 2))


@pytest.mark.reference
@pytest.mark.parametrize(("steps", "eta"), [(10, 0.0), (40, 0.0), (1, 0.0)])
def test_equal_to_diffusers(schedule, steps, eta):
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
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def denoise(x_t, t):
        return torch.sin(3 * x_t + t[0] / 100)

    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoise(x_t, t.expand(2)), t, x_t, eta=eta).prev_sample
    torch.testing.assert_close(DDIMSampler(schedule, steps, eta).sample(denoise, noise), x_t, atol=1e-4, rtol=1e-4)
