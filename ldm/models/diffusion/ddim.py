"""DDIM: deterministic or partly stochastic sampling in any number of steps.

Source: arXiv 2010.02502, eq. 12 and 16; "trailing" spacing: arXiv 2305.08891, section 3.3. Imports
the schedule only; sees a callable (x_t, t) -> eps, never a model.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.models.diffusion.schedule import NoiseSchedule

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> eps, all (B, C, H, W) but t (B,)
Spacing = Literal["trailing", "leading", "linspace"]
SPACINGS = ("trailing", "leading", "linspace")


def noise_like_each(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Normal noise of the shape of x (B, C, H, W), sample i drawn from generator i alone."""
    draws = [torch.randn(x.shape[1:], generator=g, device=g.device) for g in generators]
    return torch.stack(draws).to(x)


def spaced_timesteps(timesteps: int, steps: int, spacing: Spacing) -> list[int]:
    """`steps` distinct timesteps of 0 .. timesteps - 1, falling.

    `trailing` begins at the noisiest level and is right for few steps; `leading` is the original's, which stops
    short of it (but honours every step count, where the original takes 8 for 7); `linspace` is spread evenly from
    the noisiest level to the cleanest, rounded: k-diffusion's.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"{steps} sampling steps: wanted 1 to {timesteps}, the number of noise levels in training.")
    if spacing not in SPACINGS:
        raise UserError(f"spacing '{spacing}' is not one of {', '.join(SPACINGS)}.")
    if spacing == "trailing":
        return [(timesteps * (steps - i) + steps // 2) // steps - 1 for i in range(steps)]
    if spacing == "linspace":
        gaps = max(steps - 1, 1)
        return [(2 * (timesteps - 1) * (gaps - i) + gaps) // (2 * gaps) for i in range(steps)]
    offset = 1 if steps < timesteps else 0
    return [i * timesteps // steps + offset for i in reversed(range(steps))]


class DDIMSampler:
    """Walks from noise to a clean latent; owns no device, prints nothing, returns one tensor.

    Args:
        schedule: the tables of the forward process.
        steps: network calls, 1 to schedule.timesteps; as many are taken.
        eta: 0 is deterministic, 1 has DDPM's variance.
        spacing: see `spaced_timesteps`.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int, eta: float = 0.0, spacing: Spacing = "trailing"):
        if not 0.0 <= eta <= 1.0:
            raise UserError(f"eta {eta} is outside [0, 1].")
        self.schedule = schedule
        self.eta = eta
        self.timesteps = spaced_timesteps(schedule.timesteps, steps, spacing)

    def sample(
        self,
        denoise: Denoise,
        noise: Tensor,
        generators: list[torch.Generator] | None = None,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> Tensor:
        """Clean latent (B, C, H, W) from unit noise of the same shape.

        Args:
            denoise: (x_t, t) -> eps.
            noise: x_T.
            generators: one a sample; needed only when eta > 0.
            progress: wraps the sequence of steps, to show a bar.
        """
        # Notation, DDIM: a = abar_t, a_prev = abar at the next lower step (1 at the end), sigma = eq. 16.
        if self.eta > 0.0 and generators is None:
            raise UserError(f"eta {self.eta} draws noise at every step: pass one generator a sample.")
        x_t = noise
        one = self.schedule.alphas_cumprod.new_ones(())
        for i in progress(range(len(self.timesteps))):
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
