"""What the network sees beside the noisy latent, how training hides parts of it, and what chance decides in training.

Source: InstructPix2Pix (arXiv 2211.09800), section 3.2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.models.diffusion.schedule import per_sample
from ldm.modules.attention import ProjectedContext


@dataclass(frozen=True)
class Conditioning:
    """A batch of conditions: the current frame's latent, the instruction's tokens, numbers, pairs that look alike."""

    concat: Tensor  # (B, C, h, w) latent of the source frame: posterior mode, not scaled
    crossattn: Tensor | ProjectedContext  # (B, L, D) embedded instruction; when predicting, its keys and values
    vector: Tensor | None = None  # (B, V) seconds ahead and what is foreseen, for networks that take it; never hidden
    state_losses: Mapping[str, Tensor] = field(default_factory=dict)  # of what was foreseen, in training
    retrieved: Tensor | None = None  # (B, 2 K C, h, w) latents of K neighbours, each its current, then its future frame

    def __len__(self) -> int:
        return len(self.concat)

    @staticmethod
    def stack(parts: "list[Conditioning]") -> "Conditioning":
        """Conditions of several batches after one another."""
        texts = [part.crossattn for part in parts]
        if isinstance(texts[0], dict):
            text = {layer: torch.cat([text[layer] for text in texts]) for layer in texts[0]}
        else:
            text = torch.cat(texts)
        vector = None if parts[0].vector is None else torch.cat([part.vector for part in parts])
        retrieved = None if parts[0].retrieved is None else torch.cat([part.retrieved for part in parts])
        return Conditioning(torch.cat([part.concat for part in parts]), text, vector, retrieved=retrieved)


def make_null(cond: Conditioning, null_text: Tensor) -> Conditioning:
    """The same batch without frame, neighbours and text: zeros, and the embedding of "" (1, L, D)."""
    retrieved = None if cond.retrieved is None else torch.zeros_like(cond.retrieved)
    text = null_text.expand_as(cond.crossattn)
    return replace(cond, concat=torch.zeros_like(cond.concat), crossattn=text, retrieved=retrieved)


def drop_conditioning(cond: Conditioning, null_text: Tensor, u: Tensor, probability: float) -> Conditioning:
    """Hide text, frame or both of some samples, by one draw a sample.

    With p = `probability`: u < p hides the text only, p <= u < 2p both, 2p <= u < 3p the frame only. So each of
    the three happens with probability p; InstructPix2Pix uses 0.05. Neighbours are hidden with the frame.

    Args:
        cond: conditions of B samples.
        null_text: (1, L, D) embedding of the empty instruction.
        u: (B,) uniform in [0, 1).
        probability: p, at most 1/3.
    """
    if not 0.0 <= probability <= 1.0 / 3.0:
        raise UserError(f"conditioning dropout {probability} is outside [0, 1/3].")
    hide_text = per_sample(u < 2 * probability, cond.crossattn)
    hide_frame = per_sample((u >= probability) & (u < 3 * probability), cond.concat)
    text = torch.where(hide_text, null_text.to(cond.crossattn.dtype), cond.crossattn)
    frame = torch.where(hide_frame, torch.zeros_like(cond.concat), cond.concat)
    retrieved = cond.retrieved
    if retrieved is not None:
        retrieved = torch.where(hide_frame, torch.zeros_like(retrieved), retrieved)
    return replace(cond, concat=frame, crossattn=text, retrieved=retrieved)


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
