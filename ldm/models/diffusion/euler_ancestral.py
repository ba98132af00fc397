"""Euler ancestral sampling: an Euler step down past the next noise level, then fresh noise up to it.

Source: k-diffusion's `sample_euler_ancestral` on its `CompVisDenoiser`, which InstructPix2Pix draws with
(arXiv 2206.00364, section 4, for the notation).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ldm.models.diffusion.sampler import Denoise, Sampler, noise_like_each
from ldm.models.diffusion.schedule import NoiseSchedule
from ldm.models.diffusion.timesteps import Spacing


class EulerAncestralSampler(Sampler):
    """New noise at every step but the last: eta 1 is k-diffusion's, 0 adds none (plain Euler).

    `linspace` is InstructPix2Pix's spacing, with fractional timesteps. See Sampler for the arguments.
    """

    own_eta = 1.0

    def __init__(
        self, schedule: NoiseSchedule, steps: int, eta: float | None = None, spacing: Spacing = "trailing"
    ) -> None:
        super().__init__(schedule, steps, eta, spacing)
        if spacing == "linspace":
            self.timesteps = torch.linspace(schedule.timesteps - 1, 0, steps).tolist()

    def walk(
        self, denoise: Denoise, noise: Tensor, generators: list[torch.Generator] | None, steps: Iterable[int]
    ) -> Tensor:
        """See Sampler.walk; t is fractional with `linspace`."""
        # Notation, k-diffusion: x = x_t / signal, sigma = noise / signal, sigma_down^2 + sigma_up^2 = sigma_next^2.
        timesteps = torch.tensor(self.timesteps, device=noise.device)
        sigmas = self.schedule.sigma_at(timesteps).tolist() + [0.0]
        x = noise * self._first_scale(sigmas[0])
        for i in steps:
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
