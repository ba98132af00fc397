"""DPM-Solver++ (2M): a second-order multistep solver, good in 10 to 20 steps.

Source: arXiv 2211.01095, algorithm 2, with the last step of first order (data prediction, midpoint), as diffusers'
`DPMSolverMultistepScheduler` has it. Imports the schedule and ddim's ground; sees a callable.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ldm.models.diffusion.ddim import Denoise, Spacing, spaced_timesteps
from ldm.models.diffusion.schedule import NoiseSchedule


class DPMSolverSampler:
    """Walks from noise to a clean latent; deterministic, one network call a step.

    Args:
        schedule: the tables of the forward process.
        steps: network calls, 1 to schedule.timesteps; as many are taken.
        spacing: see `spaced_timesteps`.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int, spacing: Spacing = "trailing"):
        self.schedule = schedule
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
            generators: not used; part of the samplers' common signature.
            progress: wraps the sequence of steps, to show a bar.
        """
        # Notation, DPM-Solver++: lambda = log(signal / noise), h = its growth in a step, D = the combined x_0.
        steps = torch.tensor(self.timesteps)
        signal = self.schedule.signal.cpu()[steps].tolist()
        sigma = self.schedule.noise.cpu()[steps].tolist()
        lambdas = [math.log(a / s) for a, s in zip(signal, sigma, strict=True)]
        x_t, before, last = noise, None, len(self.timesteps) - 1
        for i in progress(range(len(self.timesteps))):
            t = torch.full((len(x_t),), self.timesteps[i], device=x_t.device)
            x_0 = (x_t - sigma[i] * denoise(x_t, t)) / signal[i]
            if i == last:
                return x_0  # lambda is infinite at the clean end: exp(-h) = 0
            h = lambdas[i + 1] - lambdas[i]
            direction = x_0
            if before is not None:
                r = (lambdas[i] - lambdas[i - 1]) / h
                direction = x_0 + (x_0 - before) / (2.0 * r)
            x_t = sigma[i + 1] / sigma[i] * x_t - signal[i + 1] * math.expm1(-h) * direction
            before = x_0
        raise AssertionError("progress must hand on every step")
