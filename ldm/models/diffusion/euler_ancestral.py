"""Euler ancestral sampling: an Euler step down past the next noise level, then fresh noise up to it.

Source: k-diffusion's `sample_euler_ancestral` on its `CompVisDenoiser`, which InstructPix2Pix draws with
(arXiv 2206.00364, section 4, for the notation). Imports the schedule and ddim's ground; sees a callable.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.models.diffusion.ddim import Denoise, Spacing, noise_like_each, spaced_timesteps
from ldm.models.diffusion.schedule import NoiseSchedule


class EulerAncestralSampler:
    """Walks from noise to a clean latent, with new noise at every step but the last.

    Args:
        schedule: the tables of the forward process.
        steps: network calls, 1 to schedule.timesteps; as many are taken.
        eta: 1 is k-diffusion's; 0 adds no noise (plain Euler).
        spacing: see `spaced_timesteps`; `linspace` is InstructPix2Pix's, with fractional timesteps.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int, eta: float = 1.0, spacing: Spacing = "trailing"):
        if not 0.0 <= eta <= 1.0:
            raise UserError(f"eta {eta} is outside [0, 1].")
        self.schedule = schedule
        self.eta = eta
        self.spacing = spacing
        self.timesteps: list[int] | list[float] = spaced_timesteps(schedule.timesteps, steps, spacing)
        if spacing == "linspace":
            self.timesteps = torch.linspace(schedule.timesteps - 1, 0, steps).tolist()

    def sample(
        self,
        denoise: Denoise,
        noise: Tensor,
        generators: list[torch.Generator] | None = None,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> Tensor:
        """Clean latent (B, C, H, W) from unit noise of the same shape.

        Args:
            denoise: (x_t, t) -> eps; t is fractional with `linspace`.
            noise: unit variance.
            generators: one a sample; needed only when eta > 0.
            progress: wraps the sequence of steps, to show a bar.
        """
        # Notation, k-diffusion: x = x_t / signal, sigma = noise / signal, sigma_down^2 + sigma_up^2 = sigma_next^2.
        if self.eta > 0.0 and generators is None:
            raise UserError(f"eta {self.eta} draws noise at every step: pass one generator a sample.")
        timesteps = torch.tensor(self.timesteps, device=noise.device)
        sigmas = self.schedule.sigma_at(timesteps).tolist() + [0.0]
        x = noise * self._first_scale(sigmas[0])
        for i in progress(range(len(self.timesteps))):
            sigma, sigma_next = sigmas[i], sigmas[i + 1]
            sigma_up = self.eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
            sigma_up = min(sigma_next, sigma_up)
            sigma_down = (sigma_next**2 - sigma_up**2) ** 0.5
            eps = denoise(x / (1.0 + sigma**2) ** 0.5, timesteps[i].expand(len(x)))
            x = x + (sigma_down - sigma) * eps
            if sigma_up > 0.0:
                x = x + sigma_up * noise_like_each(x, generators)
        return x

    def _first_scale(self, sigma: float) -> float:
        """k-diffusion takes sigma, the noise without any signal; diffusers keeps unit variance where t < T - 1."""
        return (1.0 + sigma**2) ** 0.5 if self.spacing == "leading" else sigma
