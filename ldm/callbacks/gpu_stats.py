"""GPU memory and utilisation while training, as afp's figure 2 plots them."""

import logging

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)


class GpuStats(pl.Callback):
    """Logs gpu/memory_allocated_gib, gpu/memory_peak_gib and gpu/utilization_percent; nothing without a GPU.

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
        """Read every n optimiser steps."""
        if trainer.global_step == self._step or trainer.global_step % self.every_n_steps:
            return
        self._step = trainer.global_step
        if pl_module.device.type == "cuda":
            for name, value in self.read(pl_module.device).items():
                pl_module.log(f"gpu/{name}", value, batch_size=len(batch["pair_id"]))

    def read(self, device: torch.device) -> dict[str, float]:
        """Present readings of a GPU."""
        readings = {
            "memory_allocated_gib": torch.cuda.memory_allocated(device) / 2**30,
            "memory_peak_gib": torch.cuda.max_memory_allocated(device) / 2**30,
        }
        if self._readable:
            try:
                readings["utilization_percent"] = float(torch.cuda.utilization(device))
            except (ModuleNotFoundError, RuntimeError) as error:
                self._readable = False
                log.warning("GPU utilisation is not logged (%s); pip install nvidia-ml-py.", error)
        return readings
