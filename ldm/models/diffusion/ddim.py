"""DDIM: deterministic or partly stochastic sampling in any number of steps.

Source: arXiv 2010.02502, eq. 12 and 16.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from ldm.models.diffusion.sampler import Denoise, Sampler, noise_like_each


class DDIMSampler(Sampler):
    """DDIM; eta 0 is deterministic, 1 has DDPM's variance. See Sampler for the arguments."""

    def walk(
        self, denoise: Denoise, noise: Tensor, generators: list[torch.Generator] | None, steps: Iterable[int]
    ) -> Tensor:
        """See Sampler.walk."""
        # Notation, DDIM: a = abar_t, a_prev = abar at the next lower step (1 at the end), sigma = eq. 16.
        x_t = noise
        one = self.schedule.alphas_cumprod.new_ones(())
        for i in steps:
            t = torch.full((len(x_t),), self.timesteps[i], device=x_t.device)
            last = i + 1 == len(self.timesteps)
            a = self.schedule.alphas_cumprod[self.timesteps[i]]
            a_prev = one if last else self.schedule.alphas_cumprod[self.timesteps[i + 1]]
            eps = denoise(x_t, t)
            x_0 = (x_t - (1 - a).sqrt() * eps) / a.sqrt()  # "predicted x0", eq. 12
            sigma = self.eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
            x_t = a_prev.sqrt() * x_0 + (1 - a_prev - sigma**2).clamp(min=0).sqrt() * eps
            if self.eta > 0.0 and not last:
                x_t = x_t + sigma * noise_like_each(x_t, generators)
        return x_t
