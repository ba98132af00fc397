"""What chance decides about a training batch, drawn in one place, so that a run can be repeated exactly.

Imports torch only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingDraws:
    """The draws of one batch."""

    t: Tensor  # (B,) timesteps
    eps: Tensor  # (B, C, h, w) noise
    u: Tensor  # (B,) the draw that decides conditioning dropout
    generators: list[torch.Generator]  # B, for what is drawn later: the first stage's posterior, crops


def draw_training(seeds: Tensor, shape: tuple[int, ...], levels: Tensor, device: torch.device) -> TrainingDraws:
    """Draws of a batch, each sample from a generator of its own.

    A sample's noise depends on its seed alone: not on batch size, number of devices, accumulation or device type.

    Args:
        seeds: (B,) int64.
        shape: (C, h, w) of one latent.
        levels: (n,) timesteps to draw from, each as likely.
        device: where the draws are wanted.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
    t = torch.stack([levels[torch.randint(len(levels), (), generator=g)] for g in generators])
    u = torch.stack([torch.rand((), generator=g) for g in generators])
    eps = torch.stack([torch.randn(shape, generator=g) for g in generators])
    return TrainingDraws(*(draws.to(device, non_blocking=True) for draws in (t, eps, u)), generators)
