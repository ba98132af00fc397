"""Laws of the Euler ancestral sampler."""

import pytest
import torch

from ldm.models.diffusion.euler_ancestral import EulerAncestralSampler


def fake_denoise(x_t, t):
    return torch.sin(x_t + t[0] / 100)


@pytest.mark.parametrize("steps", [20, 100])
def test_equal_to_k_diffusion(schedule, noise, steps):
    """k-diffusion's get_sigmas, CompVisDenoiser and sample_euler_ancestral, written out as they stand there."""
    log_sigmas = ((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod).sqrt().log()

    def t_to_sigma(t):
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * log_sigmas[low] + w * log_sigmas[high]).exp()

    t = torch.linspace(999, 0, steps)
    sigmas = torch.cat([t_to_sigma(t), torch.zeros(1)])
    generator = torch.Generator().manual_seed(5)
    noise = noise[:1]
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
    ours = EulerAncestralSampler(schedule, steps, spacing="linspace").sample(
        fake_denoise, noise, [torch.Generator().manual_seed(5)]
    )
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("spacing", "steps"), [("trailing", 10), ("trailing", 50), ("linspace", 10), ("linspace", 28), ("leading", 20)]
)
def test_equal_to_diffusers(schedule, noise, spacing, steps):
    """Same latents as diffusers with the same model outputs, where timesteps are whole numbers."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing, steps_offset=1
    )
    theirs.set_timesteps(steps)
    generator = torch.Generator().manual_seed(5)
    noise = noise[:1]
    x = noise * theirs.init_noise_sigma
    for t in theirs.timesteps:
        eps = fake_denoise(theirs.scale_model_input(x, t), t[None])
        x = theirs.step(eps, t, x, generator=generator).prev_sample
    ours = EulerAncestralSampler(schedule, steps, spacing=spacing).sample(
        fake_denoise, noise, [torch.Generator().manual_seed(5)]
    )
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)
