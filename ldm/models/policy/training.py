"""Training a ChunkPolicy: its steps, and how far its actions and objects are off on held-out episodes."""

from torch import Tensor

from ldm.data.windows import EpisodeBatch
from ldm.models.policy.chunk_policy import ChunkPolicy
from ldm.models.trained_model import TrainedModel


class TrainedChunkPolicy(ChunkPolicy, TrainedModel):
    """ChunkPolicy as it trains; built from the same config, under the same names of weights."""

    def loss_weights(self) -> dict[str, float]:
        """Terms of the loss."""
        return {"actions, L1": 1.0} | ({"objects, L1": self.object_weight} if self.object_weight else {})

    def on_fit_start(self) -> None:
        """Take the scales of the training data."""
        data = self.trainer.datamodule.datasets["train"]
        self.learn_statistics(data.statistics, data.object_scales())

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        result = self.losses(batch)
        parts = {"actions": result.actions} | ({} if result.objects is None else {"objects": result.objects})
        self.log_loss(result.loss, parts, batch)
        return result.loss

    def validation_step(self, batch: EpisodeBatch, batch_idx: int) -> None:
        """Of the average: the loss, the mean error of the joints in mrad, and of object positions in cm."""
        size = len(batch["pair_id"])
        with self.ema_scope():
            result = self.losses(batch)
            plan = self.plan(batch)
        targets = self.targets(plan.actions, batch["command"])
        values = {"loss": result.loss, "joints_mrad": self.joints_off_mrad(targets, batch)}
        if plan.objects is not None and batch["object_valid"].any():
            values["objects_cm"] = self.objects_off_cm(plan.objects, batch)
        for name, value in values.items():
            self.log(f"val/{name}", value, batch_size=size, sync_dist=True, prog_bar=True)

    test_step = validation_step
