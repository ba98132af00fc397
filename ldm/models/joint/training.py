"""Training a JointVideoAction: its steps, and how far actions, objects and frames are off on held-out episodes."""

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.data.joint_windows import JointBatch
from ldm.models.joint.loss import loss_terms, measure_loss
from ldm.models.joint.prediction import predict
from ldm.models.joint.video_action import JointVideoAction
from ldm.models.trained_model import TrainedModel
from ldm.models.trained_parts import merge_adapters
from ldm.util import instantiate_from_config


class TrainedJointVideoAction(JointVideoAction, TrainedModel):
    """JointVideoAction as it trains; built from the same config, under the same names of weights."""

    def __init__(self, **model: object) -> None:
        super().__init__(**model)
        node, where = self.trainable_config, "model.params.trainable_config"
        self.parts = instantiate_from_config(node, where) if node else None
        if self.parts is not None and self.parts.parts != "lora":
            raise UserError(f"{where}: parts '{self.parts.parts}' is of the U-Net; wanted lora, or rates for the rest.")

    def loss_weights(self) -> dict[str, float]:
        """Terms of the loss."""
        return loss_terms(self)

    def configure_model(self) -> None:
        """Before training, with the weights there: low-rank additions. A second call changes nothing."""
        if self.parts is None:
            return
        for model in (self.model, *([self.model_ema.average] if self.model_ema else [])):
            self.parts.add_adapters(model["network"])
        self.model.requires_grad_(False)
        self.parts.select(self.model["network"])

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Low-rank additions are merged, so that a checkpoint is a plain model; what resuming needs lies beside."""
        checkpoint["adapters"] = merge_adapters(self, checkpoint["state_dict"])
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Put the low-rank additions back."""
        checkpoint["state_dict"].update(checkpoint.get("adapters", {}))
        super().on_load_checkpoint(checkpoint)

    def parameter_groups(self) -> list[dict]:
        """Parameters by the factor of their learning rate; the longest beginning of a name counts."""
        groups: dict[float, list] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                found = max((start for start in self.rates if name.startswith(start)), key=len, default=None)
                groups.setdefault(1.0 if found is None else self.rates[found], []).append(parameter)
        return [{"params": group, "lr": factor * self.learning_rate} for factor, group in groups.items()]

    def on_fit_start(self) -> None:
        """Take the scales of the training data."""
        if self.actions is not None:
            data = self.trainer.datamodule.datasets["train"]
            self.learn_statistics(data.statistics, data.object_scales())

    def training_step(self, batch: JointBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        torch.manual_seed(int(batch["seed"][0]))  # layers that draw by themselves repeat after a resume
        result = measure_loss(self, batch)
        self.log_loss(result.loss, result.parts, batch)
        return result.loss

    def validation_step(self, batch: JointBatch, batch_idx: int) -> None:
        """Of the average: the loss, the joints' mean error in mrad, objects' in cm, PSNR of frames and of copying."""
        with self.ema_scope():
            values = {"loss": measure_loss(self, batch).loss} | self._off(batch)
        for name, value in values.items():
            if torch.isfinite(value):
                self.log(f"val/{name}", value, batch_size=len(batch["pair_id"]), sync_dist=True, prog_bar=True)

    test_step = validation_step

    @torch.no_grad()
    def _off(self, batch: JointBatch) -> dict[str, Tensor]:
        """How far predictions are off, nan where there is nothing to compare."""
        values: dict[str, Tensor] = {}
        seeds = batch["seed"].tolist()
        if self.actions is not None:
            targets = predict(self, batch, "policy", seeds).actions
            values["joints_mrad"] = self.joints_off_mrad(targets, batch)
            values["objects_cm"] = self.objects_off_cm(self.observe(batch, video=False).plan.objects, batch)
        if self.video.weight:
            drawn = predict(self, batch, "video", seeds).frames
            for camera, frames in drawn.items():
                valid = batch["future_valid"][camera]
                for name, shown in (("psnr", frames.clamp(-1, 1)), ("copy", batch["frames"][camera][:, -1:])):
                    error = ((shown - batch["future"][camera])[valid] / 2).square().mean(dim=(1, 2, 3))
                    values[f"{name}_{camera}"] = -10 * torch.log10(error.clamp(min=1e-10)).mean()
        return values
