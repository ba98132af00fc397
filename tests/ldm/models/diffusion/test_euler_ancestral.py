"""Laws of the Euler ancestral sampler."""

import pytest
import torch

from ldm.models.diffusion.euler_ancestral import EulerAncestralSampler
from ldm.models.diffusion.sampler import noise_like_each
from ldm.models.diffusion.schedule import NoiseSchedule


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule(1000, 0.00085, 0.012)


def fake_denoise(x_t, t):
    return torch.sin(x_t + t[0] / 100)


def seeded(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("steps", [1, 3, 37, 999])
def test_a_perfect_denoiser_gives_the_clean_latent(schedule, steps):
    x_start = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    sampler = EulerAncestralSampler(schedule, steps)
    result = sampler.sample(lambda x_t, t: schedule.predict_eps(x_t, t, x_start), noise, seeded([0, 1]))
    torch.testing.assert_close(result, x_start, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_every_step_is_taken_once(schedule, spacing):
    for steps in (1, 2, 7, 13, 599):
        calls = []
        sampler = EulerAncestralSampler(schedule, steps, eta=0.0, spacing=spacing)
        sampler.sample(lambda x_t, t: calls.append(float(t[0])) or x_t, torch.zeros(1, 1, 2, 2))  # noqa: B023
        assert len(calls) == steps and calls == sorted(calls, reverse=True)


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(schedule):
    def draw(seeds):
        generators = seeded(seeds)
        noise = noise_like_each(torch.empty(len(seeds), 4, 4, 4), generators)
        return EulerAncestralSampler(schedule, 7).sample(lambda x_t, t: 0.5 * x_t, noise, generators)

    torch.testing.assert_close(draw([3, 1, 2])[1:2], draw([1]), atol=0, rtol=0)


def test_noise_without_generators_is_refused(schedule):
    with pytest.raises(ValueError, match="one generator a sample"):
        EulerAncestralSampler(schedule, 3).sample(fake_denoise, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="outside"):
        EulerAncestralSampler(schedule, 3, eta=2.0)


@pytest.mark.parametrize("steps", [20, 100])
def test_equal_to_k_diffusion(schedule, steps):
    """k-diffusion's get_sigmas, CompVisDenoiser and sample_euler_ancestral, written out as they stand there."""
    log_sigmas = ((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod).sqrt().log()

    def t_to_sigma(t):
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * log_sigmas[low] + w * log_sigmas[high]).exp()

    t = torch.linspace(999, 0, steps)
    sigmas = torch.cat([t_to_sigma(t), torch.zeros(1)])
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(5)
    x = noise * sigmas[0]
    for i in range(steps):
        c_in = 1 / (sigmas[i] ** 2 + 1) ** 0.5
        denoised = x - sigmas[i] * fake_denoise(x * c_in, t[i : i + 1])
        up = min(
            sigmas[i + 1],
            (sigmas[i + 1] ** 2 * (sigmas[i] ** 2 - sigmas[i + 1] ** 2) / sigmas[i] ** 2) ** 0.5,
        )
        down = (sigmas[i + 1] ** 2 - up**2) ** 0.5
        x = x + (x - denoised) / sigmas[i] * (down - sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + torch.randn(x.shape[1:], generator=generator) * up
    ours = EulerAncestralSampler(schedule, steps, spacing="linspace").sample(fake_denoise, noise, seeded([5]))
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("spacing", "steps"), [("trailing", 10), ("trailing", 50), ("linspace", 10), ("linspace", 28), ("leading", 20)]
)
def test_equal_to_diffusers(schedule, spacing, steps):
    """Same latents as diffusers with the same model outputs, where timesteps are whole numbers."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing, steps_offset=1
    )
    theirs.set_timesteps(steps)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(5)
    x = noise * theirs.init_noise_sigma
    for t in theirs.timesteps:
        eps = fake_denoise(theirs.scale_model_input(x, t), t[None])
        x = theirs.step(eps, t, x, generator=generator).prev_sample
    ours = EulerAncestralSampler(schedule, steps, spacing=spacing).sample(fake_denoise, noise, seeded([5]))
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)
