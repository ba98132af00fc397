"""What training adds to any model of ours: AdamW, its learning-rate schedule, the average, an adversary, checks.

A model is a plain nn.Module that predicts. What trains it is a class of its own that mixes it with TrainedModel,
`class Trained...(Model, TrainedModel)`: names of weights stay as they are, so that a checkpoint loads into either.
The only module of ldm.models that imports Lightning.
"""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from commands.errors import NotFiniteError, UserError
from ldm.data.batch import CachedBatch, FrameBatch
from ldm.models.trained_parts import allow_clipping, make_adamw
from ldm.modules.ema import LitEma
from ldm.modules.losses.adversarial import Adversary
from ldm.modules.losses.frame_loss import FrameLoss
from ldm.util import describe_misfit, instantiate_from_config


class TrainedModel(pl.LightningModule):
    """Hooks of Lightning around a model, which sets the attributes below.

    The adversary of an image loss learns here and not in a callback, so that no trainer can leave it out and no
    checkpoint is written between the model's step and its own; see ldm.modules.losses.adversarial.
    """

    learning_rate: float
    weight_decay: float
    optimizer_bits: int  # of the moments that AdamW keeps: 32 or 8
    scheduler_config: Mapping | None  # node of a schedule of learning-rate factors
    model: nn.Module
    model_ema: LitEma | None  # average of `model`
    frame_loss: FrameLoss | None
    shards_moments = False  # set by a run whose processes share them out, see ldm.training.strategy

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters that the optimiser moves; the adversary has its own."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def parameter_groups(self) -> list[dict]:
        """The same in groups that may have a rate of their own, `lr`."""
        return [{"params": self.trained_parameters()}]

    def loss_weights(self) -> dict[str, float]:
        """Weight of each term of the training loss that is not off, by the name under which it is logged."""
        return self.frame_loss.weights() if self.frame_loss is not None else {}

    @property
    def adversary(self) -> Adversary | None:
        """The image loss's discriminator, where it has one."""
        return self.frame_loss.adversary if self.frame_loss is not None else None

    def setup(self, stage: str) -> None:
        """Before training: weights of the losses' own frozen networks."""
        if stage == "fit" and self.frame_loss is not None:
            self.frame_loss.load_weights()

    def configure_optimizers(self) -> dict:
        """AdamW over `trained_parameters`, with the learning-rate schedule where there is one."""
        numbers = self.learning_rate, self.weight_decay, self.optimizer_bits
        optimizer = make_adamw(self.parameter_groups(), *numbers, sharded=self.shards_moments)
        allow_clipping(optimizer, self._trainer)
        if self.scheduler_config is None:
            return {"optimizer": optimizer}
        factor = instantiate_from_config(self.scheduler_config, "model.params.scheduler_config").schedule
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_after_backward(self) -> None:
        """The discriminator learns from the pictures that the model was judged on."""
        if self.adversary is not None:
            loss = self.adversary.accumulate(1.0 / self.trainer.accumulate_grad_batches)
            if loss is not None:
                self.log("train/discriminator", loss)

    def optimizer_step(self, *args: object, **kwargs: object) -> None:
        """One optimiser step, then one of the average and of the adversary, however many micro-batches it took."""
        super().optimizer_step(*args, **kwargs)
        if self.model_ema is not None:
            self.model_ema.update(self.model)
        if self.adversary is not None:
            self.adversary.step()

    def log_loss(self, loss: Tensor, parts: Mapping[str, Tensor], batch: FrameBatch | CachedBatch) -> None:
        """Log a training loss () and its terms; one that is not finite stops the run and names the pairs."""
        if not torch.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss.item()} on the pairs {', '.join(batch['pair_id'])}.")
        size = len(batch["pair_id"])
        for name, value in parts.items():
            self.log(f"train/{name}", value.detach(), batch_size=size, prog_bar=name == "loss_simple")
        self.log("train/loss", loss.detach(), batch_size=size, prog_bar="loss_simple" not in parts)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """The adversary's moments lie beside the weights."""
        if self.adversary is not None:
            checkpoint["adversary"] = self.adversary.optimizer.state_dict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuse a checkpoint that a run cannot go on from; take the adversary's moments.

        Raises:
            UserError: if names or shapes of weights differ, or a run would resume from weights alone.
        """
        if self._trainer is not None and self._trainer.training and "optimizer_states" not in checkpoint:
            raise UserError(
                "the checkpoint holds weights without the optimiser's moments; resume from last.ckpt, or begin a new "
                "run from its weights: pretrained.path=<checkpoint>"
            )
        misfit = describe_misfit(checkpoint["state_dict"], self.state_dict())
        if misfit:
            raise UserError(
                f"the checkpoint is of another recipe: {misfit}.\nResume with the run's own config (no --base), or "
                "start a new run from its weights: pretrained.path=<checkpoint>"
            )
        if "adversary" in checkpoint and self.adversary is not None:
            self.adversary.optimizer.load_state_dict(checkpoint["adversary"])
