"""train/loss_smoothed: the mean of the last losses, beside the raw one.

Source: acp, figure 3 (a running mean of 50).
"""

from collections import deque

import pytorch_lightning as pl
import torch
from torch import Tensor

from commands.errors import UserError


class SmoothedLoss(pl.Callback):
    """Logs the running mean of the loss; its window travels in checkpoints, so a resumed curve has no kink.

    Args:
        window: optimiser micro-steps that are averaged.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise UserError(f"smoothed_loss: window {window}; wanted at least 1.")
        self._losses: deque[Tensor] = deque(maxlen=window)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        """Add a loss; the mean is of device tensors, so the step does not wait for the GPU."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        # Lightning divides the loss by the micro-batches of a step before it hands it on.
        self._losses.append(loss.detach().float() * trainer.accumulate_grad_batches)
        pl_module.log("train/loss_smoothed", torch.stack(tuple(self._losses)).mean(), batch_size=len(batch["pair_id"]))

    def state_dict(self) -> dict:
        """The window."""
        return {"losses": [float(loss) for loss in self._losses]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on with the window of a checkpoint."""
        self._losses.extend(torch.tensor(loss) for loss in state_dict["losses"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A loaded window goes where the model is."""
        moved = [loss.to(pl_module.device) for loss in self._losses]
        self._losses.clear()
        self._losses.extend(moved)
