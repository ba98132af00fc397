"""Training LatentDiffusion: its steps, the terms on decoded frames, which parts train, low-rank additions.

Source: InstructPix2Pix (arXiv 2211.09800), section 3.2; LoRA (arXiv 2106.09685).
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from commands.errors import UserError
from ldm.data.batch import CachedBatch, FrameBatch
from ldm.models.diffusion.conditioning import TrainingDraws, draw_training
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.models.trained_model import TrainedModel
from ldm.models.trained_parts import merge_adapters
from ldm.modules.basic import hash_weights
from ldm.modules.losses.frame_loss import FrameTerms
from ldm.modules.losses.trunk import Hidden
from ldm.util import check_config, instantiate_from_config

VALIDATION_SEED = 23  # validation noise is the same at every epoch, so that losses can be compared


class TrainedLatentDiffusion(LatentDiffusion, TrainedModel):
    """LatentDiffusion as it trains; built from the same config, under the same names of weights."""

    def __init__(self, **model: object) -> None:
        super().__init__(**model)
        where = "model.params"
        if self.scheduler_config:
            check_config(self.scheduler_config, f"{where}.scheduler_config")
        terms, parts = self.frame_loss_config, self.trainable_config
        self.frame_loss = instantiate_from_config(terms, f"{where}.frame_loss_config") if terms else None
        self.parts = instantiate_from_config(parts, f"{where}.trainable_config") if parts else None
        self.target_encoder: Hidden | None = None  # the first stage as it was, where its encoder trains
        if self.parts is not None:
            self.parts.select(self.model.diffusion_model, self.first_stage_model)
        if self.trains_first_stage and self.predict_change:
            raise UserError(
                "trainable_config: image_encoder vae moves the source frame's latent, to which predict_change adds; "
                "give predict_change: false, or image_encoder: unet."
            )
        if not self.loss_weights():
            raise UserError(f"{where}: lambda_simple is 0 and there is no frame_loss_config; nothing would train.")

    @property
    def trains_first_stage(self) -> bool:
        """Whether the last layers of the first stage's encoder train, see TrainedParts."""
        return self.parts is not None and self.parts.trains_first_stage

    def loss_weights(self) -> dict[str, float]:
        """The denoising loss and the terms on the decoded prediction."""
        simple = {"loss_simple": self.lambda_simple} if self.lambda_simple else {}
        return simple | super().loss_weights()

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser moves."""
        encoders = [*self.cond_stage_model.parameters(), *self.first_stage_model.parameters()]  # most are frozen
        return super().trained_parameters() + [p for p in encoders if p.requires_grad]

    def configure_model(self) -> None:
        """Before training, with the weights there: low-rank additions, torch.compile. A second call changes nothing."""
        unet = self.model.diffusion_model
        if self.parts is not None:
            for network in (unet, *([self.model_ema.average.diffusion_model] if self.model_ema else [])):
                self.parts.add_adapters(network)
            self.parts.select(unet, self.first_stage_model)
        if self.trains_first_stage and self.target_encoder is None:
            frozen = copy.deepcopy(self.first_stage_model)
            frozen.decoder = frozen.post_quant_conv = None
            self.target_encoder = Hidden(frozen)
        if self.compile_unet and unet._compiled_call_impl is None:  # noqa: SLF001 - torch has no other way to ask
            unet.compile()

    def hash_encoders(self) -> str:
        """Hash of the encoders that do not train: the key of cached latents.

        Raises:
            UserError: if the first stage's encoder trains, whose latents cannot be cached.
        """
        if self.trains_first_stage:
            raise UserError(
                "the first stage's encoder trains (trainable_config: image_encoder: vae), so its latents cannot be "
                "cached; leave --cache-latents out, or give image_encoder: unet."
            )
        return hash_weights(self.first_stage_model, *([] if self.cond_stage_trainable else [self.cond_stage_model]))

    def on_fit_start(self) -> None:
        """With all weights in place, also of a resumed run: refuse latents that other encoders made."""
        for data in getattr(self.trainer.datamodule, "datasets", {}).values():
            if hasattr(data, "check_weights"):
                data.check_weights(self.hash_encoders())

    def _apply(self, fn: Callable, recurse: bool = True) -> "TrainedLatentDiffusion":
        if self.target_encoder is not None:
            self.target_encoder.move(fn)
        return super()._apply(fn, recurse)

    def encode_context(self, frame: Tensor) -> Tensor:
        """See LatentDiffusion; with gradients where the encoder trains."""
        if not self.trains_first_stage:
            return super().encode_context(frame)
        return self.first_stage_model.encode(frame).mode()

    @torch.no_grad()
    def encode_first_stage(self, frame: Tensor, generators: list[torch.Generator] | None = None) -> Tensor:
        """See LatentDiffusion; an encoder that trains leaves the targets where the decoder knows them."""
        if self.target_encoder is None:
            return super().encode_first_stage(frame, generators)
        return self.scale_factor * self.target_encoder.network.encode(frame).sample(generators)

    def draw(self, batch: FrameBatch | CachedBatch) -> TrainingDraws:
        """What chance decides about a batch, by the seeds of its samples."""
        cached = "source_latent" in batch
        shape = batch["source_latent"].shape[1:] if cached else self.latent_shape(batch["target_frame"])
        return draw_training(batch["seed"], tuple(shape), torch.tensor(self.levels), self.device)

    def frame_terms(self, start: Tensor, t: Tensor, batch: FrameBatch, generator: torch.Generator) -> FrameTerms:
        """Terms on the decoded prediction, from the clean latent (B, C, h, w) that the network's output stands for."""
        latent = start / self.scale_factor
        if self.predict_change:
            latent = latent + self.encode_context(batch["source_frame"])
        return self.frame_loss(latent, self.first_stage_model.decode, t, batch, generator, self.global_step)

    def training_step(self, batch: FrameBatch | CachedBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        seeds = batch["seed"]
        torch.manual_seed(int(seeds[0]))  # layers that draw by themselves (dropout) repeat after a resume
        draws = self.draw(batch)
        x_start, cond = self.get_input(batch, draws, self.conditioning_dropout)
        terms = partial(self.frame_terms, t=draws.t, batch=batch, generator=draws.generators[0])
        result = self.p_losses(x_start, cond, draws.t, draws.eps, terms if self.frame_loss is not None else None)
        loss = sum(cond.state_losses.values(), result.loss)
        self.log_loss(loss, result.parts | cond.state_losses, batch)
        self.log("lr_abs", self.optimizers().param_groups[0]["lr"], batch_size=len(seeds))
        return loss

    def validation_step(self, batch: FrameBatch, batch_idx: int) -> None:
        """Loss without dropout, on noise that is the same at every epoch; for the network and for its average."""
        size = len(batch["pair_id"])
        seeds = batch["seed"] + VALIDATION_SEED  # of the pair, not of its place in a batch or its process
        draws = self.draw({**batch, "seed": seeds})
        x_start, cond = self.get_input(batch, draws, dropout=0.0)
        loss = self.p_losses(x_start, cond, draws.t, draws.eps).loss
        self.log("val/loss_simple", loss, batch_size=size, sync_dist=True, prog_bar=True)
        with self.ema_scope():
            if self.foresight is not None:  # a part of what is averaged
                cond = self.get_input(batch, draws, dropout=0.0)[1]
            loss = self.p_losses(x_start, cond, draws.t, draws.eps).loss
        self.log("val/loss_simple_ema", loss, batch_size=size, sync_dist=True)

    test_step = validation_step

    @torch.no_grad()
    def log_images(self, batch: FrameBatch, options: SamplingOptions) -> dict[str, Tensor]:
        """Rows of a picture grid: input, truth, the first stage's reconstruction of the truth, prediction."""
        target = batch["target_frame"]
        reconstruction = self.first_stage_model.decode(self.first_stage_model.encode(target).mode())
        with self.ema_scope():
            told = {"seconds": batch.get("seconds"), "neighbours": batch.get("neighbour_frames")}
            cond = self.get_learned_conditioning(batch["source_frame"], batch["instruction"], **told)
            prediction = self.draw_frames(cond, self.get_null_conditioning(cond), options, range(len(target)))
        return {
            "input": batch["source_frame"],
            "truth": target,
            "reconstruction": reconstruction.clamp(-1.0, 1.0),
            "prediction": prediction.clamp(-1.0, 1.0),
        }

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Low-rank additions are merged, so that a checkpoint is a plain model; what resuming needs lies beside."""
        checkpoint["adapters"] = merge_adapters(self, checkpoint["state_dict"])
        if self.target_encoder is not None:
            checkpoint["target_encoder"] = self.target_encoder.network.state_dict()
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Put the low-rank additions and the target encoder back."""
        checkpoint["state_dict"].update(checkpoint.get("adapters", {}))
        if self.target_encoder is not None and "target_encoder" in checkpoint:
            self.target_encoder.network.load_state_dict(checkpoint["target_encoder"])
        super().on_load_checkpoint(checkpoint)
