"""DPM-Solver++ (2M): a second-order multistep solver, good in 10 to 20 steps.

Source: arXiv 2211.01095, algorithm 2, with the last step of first order (data prediction, midpoint), as diffusers'
`DPMSolverMultistepScheduler` has it.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ldm.models.diffusion.sampler import Denoise, Sampler


class DPMSolverSampler(Sampler):
    """Deterministic, one network call a step. See Sampler for the arguments."""

    adds_noise = False

    def walk(
        self, denoise: Denoise, noise: Tensor, generators: list[torch.Generator] | None, steps: Iterable[int]
    ) -> Tensor:
        """See Sampler.walk."""
        # Notation, DPM-Solver++: lambda = log(signal / noise), h = its growth in a step, D = the combined x_0.
        levels = torch.tensor(self.timesteps)
        signal = self.schedule.signal.cpu()[levels].tolist()
        sigma = self.schedule.noise.cpu()[levels].tolist()
        lambdas = [math.log(a / s) for a, s in zip(signal, sigma, strict=True)]
        x_t, before, last = noise, None, len(self.timesteps) - 1
        for i in steps:
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
