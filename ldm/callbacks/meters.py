"""What a run's curves show beside the losses: a smoothed loss, samples per second, GPU memory and utilisation.

Source: acp, figure 2 (a running mean of 50 losses); afp, figure 1 (memory and utilisation).
"""

import logging
import time
from collections import deque
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from commands.errors import UserError

log = logging.getLogger(__name__)


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
        """Losses of the window."""
        return {"losses": [float(loss) for loss in self._losses]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on with the window of a checkpoint."""
        self._losses.extend(torch.tensor(loss) for loss in state_dict["losses"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A loaded window goes where the model is."""
        moved = [loss.to(pl_module.device) for loss in self._losses]
        self._losses.clear()
        self._losses.extend(moved)


class Throughput(pl.Callback):
    """Logs `samples_per_second` over the last n optimiser steps, and GPU memory where there is a GPU.

    Args:
        every_n_steps: optimiser steps between readings.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._samples = 0
        self._step = 0
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._step, self._since, self._samples = trainer.global_step, time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        """Count samples; report every n optimiser steps."""
        self._samples += len(batch["pair_id"]) * trainer.world_size
        if trainer.global_step - self._step < self.every_n_steps:
            return
        now = time.perf_counter()
        rate = self._samples / (now - self._since)
        pl_module.log("samples_per_second", rate)
        if torch.cuda.is_available():
            pl_module.log("gpu_memory_gib", torch.cuda.max_memory_allocated() / 2**30)
        if trainer.is_global_zero:
            loss = outputs["loss"].item() if isinstance(outputs, dict) else float("nan")
            log.info("step %d: loss %.4f, %.1f samples/s", trainer.global_step, loss, rate)
        self._step, self._since, self._samples = trainer.global_step, now, 0


class GpuStats(pl.Callback):
    """Logs gpu/memory_allocated_gib and gpu/memory_peak_gib of the first process's GPU, and every GPU's utilisation.

    The columns are gpu/utilization_percent where a run has one GPU, gpu/utilization_percent_0, _1, ... where it has
    more. Nothing is logged without a GPU.

    Args:
        every_n_steps: optimiser steps between readings.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._step = 0
        self._readable = True  # whether the driver's library answers; asked once

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """Read every n optimiser steps, in the process that writes the log."""
        if trainer.global_step == self._step or trainer.global_step % self.every_n_steps:
            return
        self._step = trainer.global_step
        if pl_module.device.type == "cuda" and trainer.is_global_zero:
            for name, value in self.read(pl_module.device, trainer.device_ids).items():
                pl_module.log(f"gpu/{name}", value, batch_size=len(batch["pair_id"]), rank_zero_only=True)

    def read(self, device: torch.device, gpus: Sequence[int]) -> dict[str, float]:
        """Present readings: memory of this process's GPU, utilisation of all `gpus` of the run on this machine."""
        readings = {
            "memory_allocated_gib": torch.cuda.memory_allocated(device) / 2**30,
            "memory_peak_gib": torch.cuda.max_memory_allocated(device) / 2**30,
        }
        if self._readable:
            try:
                for gpu in gpus:
                    name = f"utilization_percent_{gpu}" if len(gpus) > 1 else "utilization_percent"
                    readings[name] = float(torch.cuda.utilization(gpu))
            except (ModuleNotFoundError, RuntimeError) as error:
                self._readable = False
                log.warning("GPU utilisation is not logged (%s); pip install nvidia-ml-py.", error)
        return readings
