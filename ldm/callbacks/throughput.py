"""How fast and how far: samples per second, and a line every n steps where no progress bar is shown."""

import logging
import time

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)


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
