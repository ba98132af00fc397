"""Training a first stage: the decoder alone, as light_future fine-tunes it, or the whole autoencoder.

Source: latent diffusion (arXiv 2112.10752), appendix G; taming-transformers' LPIPSWithDiscriminator,
with a fixed weight of the adversary as light_future has it. With LatentDiffusion's names of weights
(first_stage_model.*), so that checkpoints of either serve the other.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from commands.errors import UserError
from ldm.data.batch import FrameBatch
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.models.trained_model import TrainedModel
from ldm.util import instantiate_from_config

Parts = Literal["decoder", "all"]
DECODER = ("decoder", "post_quant_conv")  # the parts of AutoencoderKL that decode


class AutoencoderTraining(TrainedModel):
    """Reconstruction, KL divergence and an adversary on both frames of each pair.

    Args:
        first_stage_config: node of AutoencoderKL.
        frame_loss_config: node of FrameLoss in mode exact: LPIPS, L1, adversary.
        learning_rate, weight_decay: of AdamW.
        parts: decoder trains it alone, so that latents stay those that a diffusion model knows; all trains both halves.
        kl_weight: of the divergence from the unit normal distribution, per frame; for `all`.
        optimizer_bits: 32, or 8 for bitsandbytes' AdamW.
    """

    def __init__(
        self,
        first_stage_config: Mapping,
        frame_loss_config: Mapping,
        learning_rate: float,
        parts: Parts,
        weight_decay: float = 0.0,
        kl_weight: float = 0.0,
        optimizer_bits: int = 32,
    ) -> None:
        super().__init__()
        if parts not in get_args(Parts):
            raise UserError(f"model.params.parts: '{parts}' is not one of {', '.join(get_args(Parts))}.")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer_bits = optimizer_bits
        self.scheduler_config = None
        self.model_ema = None
        self.parts: Parts = parts
        self.kl_weight = kl_weight
        self.first_stage_model = instantiate_from_config(first_stage_config, "model.params.first_stage_config")
        self.frame_loss = instantiate_from_config(frame_loss_config, "model.params.frame_loss_config")
        if parts == "decoder":
            self.first_stage_model.requires_grad_(False)
            for name in DECODER:
                getattr(self.first_stage_model, name).requires_grad_(True)

    def train(self, mode: bool = True) -> "AutoencoderTraining":
        """A frozen encoder stays in eval mode whatever is asked."""
        super().train(mode)
        if self.parts == "decoder" and hasattr(self, "first_stage_model"):
            self.first_stage_model.encoder.eval()
        return self

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser moves; the adversary has its own."""
        return [p for p in self.first_stage_model.parameters() if p.requires_grad]

    def loss_weights(self) -> dict[str, float]:
        """The terms on reconstructions, and the divergence where the encoder trains."""
        divergence = {"kl": self.kl_weight} if self.parts == "all" and self.kl_weight else {}
        return super().loss_weights() | divergence

    def reconstruction_loss(self, frames: Tensor, generators: list[torch.Generator] | None) -> dict[str, Tensor]:
        """Weighted terms () by name of frames (B, 3, H, W) in [-1, 1]; their sum is the loss."""
        with torch.set_grad_enabled(self.parts == "all" and torch.is_grad_enabled()):
            posterior = self.first_stage_model.encode(frames)
        reconstruction = self.first_stage_model.decode(posterior.sample(generators))
        terms = self.frame_loss.compare(reconstruction, frames, frames, [], self.global_step)
        parts = dict(terms.parts)
        parts["reconstruction"] = terms.total
        if self.parts == "all" and self.kl_weight:
            parts["kl"] = self.kl_weight * posterior.kl().mean()
        return parts

    def training_step(self, batch: FrameBatch, batch_idx: int) -> Tensor:
        """Loss of both frames of a batch."""
        frames = torch.cat([batch["source_frame"], batch["target_frame"]])
        seeds = [seed + offset for offset in (0, 1) for seed in batch["seed"].tolist()]
        torch.manual_seed(seeds[0])
        parts = self.reconstruction_loss(frames, [torch.Generator().manual_seed(seed) for seed in seeds])
        loss = parts["reconstruction"] + parts.get("kl", 0.0)
        self.log_loss(loss, parts, batch)
        return loss

    def validation_step(self, batch: FrameBatch, batch_idx: int) -> None:
        """Mean absolute difference of reconstructions from the posterior's mode."""
        frames = torch.cat([batch["source_frame"], batch["target_frame"]])
        difference = (self.first_stage_model(frames) - frames).abs().mean()
        self.log("val/rec_loss", difference, batch_size=len(frames), sync_dist=True, prog_bar=True)

    test_step = validation_step

    @property
    def size_multiple(self) -> int:
        """What width and height of a frame must be multiples of."""
        return self.first_stage_model.downsampling_factor

    def describe_parts(self) -> dict[str, int]:
        """Parameters of each part."""
        return {"first stage": sum(p.numel() for p in self.first_stage_model.parameters())}

    @torch.no_grad()
    def log_images(self, batch: FrameBatch, options: SamplingOptions) -> dict[str, Tensor]:
        """Rows of a picture grid: frames and their reconstructions; nothing is sampled."""
        target = batch["target_frame"]
        return {"truth": target, "reconstruction": self.first_stage_model(target).clamp(-1.0, 1.0)}
