"""The image loss: terms on the decoded prediction of the clean frame, beside the loss on the noise.

Source: afp, eq. 1 (LPIPS + L1); light_future, eq. 2 (perceptual + adversarial); morpheus (semantic constraint).

`exact` decodes every sample whole, as the papers do. `gated` decodes only the share of the batch with the least noise,
where the clean frame can be told at all (arXiv 2411.04873 drops the loss at high noise for the same reason), and of
those only a random square of the latent; the sum stays over the whole batch, so the weights mean the same. Where a
tiny decoder is named, `gated` decodes with it instead of the first stage; `exact` never does.
`python -m benchmark image_loss` measures how far the gradients agree, and what each mode costs.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn

from commands.errors import UserError
from ldm.data.batch import FrameBatch
from ldm.modules.losses.trunk import Hidden
from ldm.util import instantiate_from_config

log = logging.getLogger(__name__)

Mode = Literal["exact", "gated"]


@dataclass(frozen=True)
class FrameTerms:
    """Weighted terms of one batch."""

    total: Tensor  # ()
    parts: dict[str, Tensor]  # () each, by name


class FrameLoss(nn.Module):
    """Weighted sum of terms between decoded predictions and true frames; a weight of 0 switches a term off.

    Args:
        mode: exact or gated.
        lambda_l1, lambda_lpips, lambda_perceptual, lambda_adversarial: weights; the semantic constraint has its own.
        share: of the batch that is decoded when gated, rounded up to whole samples.
        crop: side of the random square of the latent when gated; None keeps the whole.
        lpips_config, perceptual_config, adversarial_config, semantic_config: nodes of the terms.
        tiny_decoder_config: node of a TinyDecoder that decodes when gated; None keeps the first stage's decoder.
    """

    def __init__(
        self,
        mode: Mode,
        lambda_l1: float = 0.0,
        lambda_lpips: float = 0.0,
        lambda_perceptual: float = 0.0,
        lambda_adversarial: float = 0.0,
        share: float = 0.25,
        crop: int | None = None,
        lpips_config: Mapping | None = None,
        perceptual_config: Mapping | None = None,
        adversarial_config: Mapping | None = None,
        semantic_config: Mapping | None = None,
        tiny_decoder_config: Mapping | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("exact", "gated"):
            raise UserError(f"frame_loss_config: mode '{mode}' is not one of exact, gated.")
        if not 0.0 < share <= 1.0:
            raise UserError(f"frame_loss_config: share {share} is outside (0, 1].")
        self.mode: Mode = mode
        self.share = share
        self.crop = crop
        self.lambda_l1 = lambda_l1
        self.lambda_lpips = lambda_lpips
        self.lambda_perceptual = lambda_perceptual
        self.lambda_adversarial = lambda_adversarial
        self.lpips = _make("lpips_config", lpips_config, lambda_lpips)
        self.perceptual = _make("perceptual_config", perceptual_config, lambda_perceptual)
        self.adversary = _make("adversarial_config", adversarial_config, lambda_adversarial)
        self.semantic = _make("semantic_config", semantic_config, float(semantic_config is not None))
        self.tiny_decoder = self._make_tiny_decoder(tiny_decoder_config)

    def _make_tiny_decoder(self, config: Mapping | None) -> Hidden | None:
        """The frozen decoder of gated mode, outside the module tree: it is no part of a checkpoint."""
        if config is None:
            return None
        if self.mode == "exact":
            log.warning("frame_loss_config: tiny_decoder_config is not used, mode exact decodes with the first stage.")
            return None
        return Hidden(instantiate_from_config(config, "frame_loss_config.params.tiny_decoder_config"))

    def weights(self) -> dict[str, float]:
        """Weights of the terms that are not off, by their names in `compare`."""
        own = {name: getattr(self, f"lambda_{name}") for name in ("l1", "lpips", "perceptual", "adversarial")}
        if self.semantic is not None:
            own |= {"semantic_text": self.semantic.lambda_text, "semantic_keep": self.semantic.lambda_keep}
        return {name: weight for name, weight in own.items() if weight}

    def load_weights(self) -> None:
        """Read the files of all frozen networks inside."""
        for module in self.modules():
            if module is not self and hasattr(module, "load_weights"):
                module.load_weights()
        if self.tiny_decoder is not None:
            self.tiny_decoder.network.load_weights()

    def _apply(self, fn: Callable, recurse: bool = True) -> "FrameLoss":
        if self.tiny_decoder is not None:
            self.tiny_decoder.move(fn)
        return super()._apply(fn, recurse)

    def forward(
        self,
        latent: Tensor,
        decode: Callable[[Tensor], Tensor],
        t: Tensor,
        batch: FrameBatch,
        generator: torch.Generator,
        step: int,
    ) -> FrameTerms:
        """Terms of a batch.

        Args:
            latent: (B, C, h, w) predicted clean latent of the first stage, not scaled, with gradient.
            decode: latent (b, C, h', w') to frames (b, 3, f h', f w'), frozen: the first stage's.
            t: (B,) timesteps.
            batch: true frames and instructions.
            generator: draws the square.
            step: optimiser step, for the adversary's warm-in.
        """
        rows = choose_rows(t, 1.0 if self.mode == "exact" else self.share)
        window = (0, 0, *latent.shape[-2:])
        if self.mode == "gated" and self.crop is not None:
            window = choose_window(latent.shape[-2:], self.crop, generator)
        factor = batch["target_frame"].shape[-1] // latent.shape[-1]
        prediction = self._decoder(decode, factor)(cut(latent[rows], window))
        frames = tuple(factor * n for n in window)
        target, source = (cut(batch[name][rows], frames) for name in ("target_frame", "source_frame"))
        chosen = [batch["instruction"][row] for row in rows.tolist()] if self.semantic else []
        terms = self.compare(prediction, target, source, chosen, step)
        return FrameTerms(terms.total * len(rows) / len(t), terms.parts)

    def _decoder(self, decode: Callable[[Tensor], Tensor], factor: int) -> Callable[[Tensor], Tensor]:
        """What decodes: the first stage's `decode`, whose frames are `factor` times its latents, or the tiny one."""
        if self.tiny_decoder is None:
            return decode
        tiny = self.tiny_decoder.network
        if tiny.downsampling_factor != factor:
            raise UserError(
                f"frame_loss_config: the tiny decoder enlarges latents {tiny.downsampling_factor} times, this model's "
                f"first stage {factor} times; leave tiny_decoder_config out."
            )
        return tiny.decode

    def compare(
        self, prediction: Tensor, target: Tensor, source: Tensor, instruction: Sequence[str], step: int
    ) -> FrameTerms:
        """Terms between pictures (B, 3, H, W) in [-1, 1], means over the batch."""
        prediction, target, source = prediction.float(), target.float(), source.float()
        parts = {}
        if self.lambda_l1:
            parts["l1"] = self.lambda_l1 * (prediction - target).abs().mean()
        if self.lambda_lpips:
            parts["lpips"] = self.lambda_lpips * self.lpips(prediction, target).mean()
        if self.lambda_perceptual:
            parts["perceptual"] = self.lambda_perceptual * self.perceptual(prediction, target).mean()
        if self.lambda_adversarial and (warm := self.adversary.weight(step)):
            parts["adversarial"] = self.lambda_adversarial * warm * self.adversary(prediction, target)
        if self.semantic is not None:
            parts |= self.semantic(prediction, source, target, instruction)
        total = sum(parts.values(), torch.zeros((), device=prediction.device))
        return FrameTerms(total, {name: value.detach() for name, value in parts.items()})


def _make(name: str, config: Mapping | None, weight: float) -> nn.Module | None:
    """The network of a term whose weight is not 0."""
    if not weight:
        return None
    if config is None:
        raise UserError(f"frame_loss_config: a weight without its network; give {name}, or set the weight to 0.")
    return instantiate_from_config(config, f"frame_loss_config.params.{name}")


def choose_rows(t: Tensor, share: float) -> Tensor:
    """Indices of the ceil(share B) samples with the least noise, in order of t; their number is fixed."""
    return torch.argsort(t, stable=True)[: ceil(share * len(t))]


def choose_window(shape: Sequence[int], side: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random square of `side` in a map of `shape`; the whole where it is smaller."""
    height, width = min(side, shape[0]), min(side, shape[1])
    top, left = (int(torch.randint(n + 1, (), generator=generator)) for n in (shape[0] - height, shape[1] - width))
    return top, left, height, width


def cut(maps: Tensor, window: Sequence[int]) -> Tensor:
    """The window (top, left, height, width) of maps (..., H, W)."""
    top, left, height, width = window
    return maps[..., top : top + height, left : left + width]
