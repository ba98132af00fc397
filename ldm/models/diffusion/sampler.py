"""What samplers have in common: a walk from noise to a clean latent that sees a callable, never a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.models.diffusion.schedule import NoiseSchedule
from ldm.models.diffusion.timesteps import Spacing, spaced_timesteps

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> eps, all (B, ...) of one shape but t (B,)


def noise_like_each(x: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Normal noise of the shape of x (B, ...), sample i drawn from generator i alone."""
    draws = [torch.randn(x.shape[1:], generator=g, device=g.device) for g in generators]
    return torch.stack(draws).to(x)


class Sampler(ABC):
    """A walk over noise levels; owns no device, prints nothing, returns one tensor.

    Args:
        schedule: the tables of the forward process.
        steps: network calls, 1 to schedule.timesteps; as many are taken.
        eta: share of fresh noise at every step, 0 to 1; 0 is deterministic, None the sampler's own.
        spacing: see `spaced_timesteps`.
    """

    own_eta = 0.0
    adds_noise = True  # whether eta may be other than 0

    def __init__(
        self, schedule: NoiseSchedule, steps: int, eta: float | None = None, spacing: Spacing = "trailing"
    ) -> None:
        eta = self.own_eta if eta is None else eta
        if not 0.0 <= eta <= 1.0:
            raise UserError(f"eta {eta} is outside [0, 1].")
        self.schedule = schedule
        self.eta = eta
        self.spacing = spacing
        self.timesteps: list[int] | list[float] = spaced_timesteps(schedule.timesteps, steps, spacing)

    def sample(
        self,
        denoise: Denoise,
        noise: Tensor,
        generators: list[torch.Generator] | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Tensor:
        """Clean latent (B, ...) from unit noise of the same shape, of any rank.

        Args:
            denoise: (x_t, t) -> eps.
            noise: x_T.
            generators: one a sample; needed only when eta > 0.
            progress: wraps the sequence of steps, to show a bar, and hands on every one.
        """
        if self.eta > 0.0 and generators is None:
            raise ValueError(f"eta {self.eta} draws noise at every step: pass one generator a sample.")
        return self.walk(denoise, noise, generators, progress(range(len(self.timesteps))))

    @abstractmethod
    def walk(
        self, denoise: Denoise, noise: Tensor, generators: list[torch.Generator] | None, steps: Iterable[int]
    ) -> Tensor:
        """The walk itself; `steps` are the indices of `timesteps` in order."""
