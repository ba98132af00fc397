"""What fine-tuning adds to a model's life: low-rank additions, an adversary, torch.compile, files of the losses.

Imports Lightning's hooks by name only; mixed into LatentDiffusion before DDPM.
"""

import hashlib

import torch

from commands.errors import UserError
from ldm.models.trained_parts import TrainedParts, merge_adapters
from ldm.modules.ema import LitEma
from ldm.modules.losses.frame_loss import FrameLoss
from ldm.util import describe_misfit


def hash_weights(*networks: torch.nn.Module) -> str:
    """SHA-256 of all tensors of networks: names, shapes, types and values."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class FineTuning:
    """Hooks of a LightningModule that has `model`, `model_ema`, `parts`, `frame_loss` and `compile_unet`."""

    model: torch.nn.Module
    model_ema: LitEma | None
    parts: TrainedParts | None
    frame_loss: FrameLoss | None
    compile_unet: bool

    def setup(self, stage: str) -> None:
        """Before training: weights of the losses' own frozen networks."""
        if stage == "fit" and self.frame_loss is not None:
            self.frame_loss.load_weights()

    def configure_model(self) -> None:
        """Before training, with the weights there: low-rank additions, torch.compile. A second call changes nothing."""
        unet = self.model.diffusion_model
        if self.parts is not None:
            for network in (unet, *([self.model_ema.average.diffusion_model] if self.model_ema else [])):
                self.parts.add_adapters(network)
            self.parts.select(unet)
        if self.compile_unet and unet._compiled_call_impl is None:  # noqa: SLF001 - torch has no other way to ask
            unet.compile()

    def hash_encoders(self) -> str:
        """Hash of the encoders that do not train: the key of cached latents."""
        return hash_weights(self.first_stage_model, *([] if self.cond_stage_trainable else [self.cond_stage_model]))

    def on_fit_start(self) -> None:
        """With all weights in place, also of a resumed run: refuse latents that other encoders made."""
        for data in getattr(self.trainer.datamodule, "datasets", {}).values():
            if hasattr(data, "check_weights"):
                data.check_weights(self.hash_encoders())

    def on_after_backward(self) -> None:
        """The discriminator learns from the pictures that the model was judged on."""
        if self.frame_loss is not None and self.frame_loss.adversary is not None:
            loss = self.frame_loss.adversary.accumulate(1.0 / self.trainer.accumulate_grad_batches)
            if loss is not None:
                self.log("train/discriminator", loss)

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        """One optimiser step of the model, then of its adversary."""
        super().optimizer_step(*args, **kwargs)
        if self.frame_loss is not None and self.frame_loss.adversary is not None:
            self.frame_loss.adversary.step()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Low-rank additions are merged, so that a checkpoint is a plain model; what resuming needs lies beside."""
        checkpoint["adapters"] = merge_adapters(self, checkpoint["state_dict"], "")
        if self.frame_loss is not None and self.frame_loss.adversary is not None:
            checkpoint["adversary"] = self.frame_loss.adversary.optimizer.state_dict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """The other way round.

        Raises:
            UserError: if the checkpoint is of another recipe.
        """
        checkpoint["state_dict"].update(checkpoint.get("adapters", {}))
        misfit = describe_misfit(checkpoint["state_dict"], self.state_dict())
        if misfit:
            raise UserError(
                f"the checkpoint is of another recipe: {misfit}.\nResume with the run's own config (no --base), or "
                "start a new run from its weights: pretrained.path=<checkpoint>"
            )
        if "adversary" in checkpoint:
            self.frame_loss.adversary.optimizer.load_state_dict(checkpoint["adversary"])
