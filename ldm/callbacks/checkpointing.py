"""last.ckpt: written every n steps, at the end, and when a run is stopped by a signal or an exception.

A checkpoint always describes the end of an optimiser step; resuming from it repeats the uninterrupted run
exactly. Layer 6: imports Lightning and ldm.data.atomic.
"""

import contextlib
import copy
import logging
import os
import signal
import zipfile
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from ldm.data.atomic import atomic_path

log = logging.getLogger(__name__)

STEPS_BETWEEN_VOTES = 10  # with several processes: how often they agree whether one got a signal


class RunInterruptedError(Exception):
    """The run was stopped by a signal after last.ckpt was written."""

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(f"stopped by {signal_name} after step {step}")
        self.signal_name = signal_name
        self.step = step


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent; streamed to disk without a copy in memory."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: object = None) -> None:
        """Write under a temporary name in the same folder, then rename."""
        with atomic_path(Path(path)) as draft:
            torch.save(checkpoint, draft)


class LastCheckpoint(pl.Callback):
    """Keeps last.ckpt, and the one before as previous.ckpt.

    Stops the run at the end of a step on SIGINT and SIGTERM, saves and goes on at SIGUSR1.

    Args:
        folder: where last.ckpt goes.
        every_n_steps: optimiser steps between saves.
    """

    def __init__(self, folder: str | Path, every_n_steps: int) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self._step = 0
        self._received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, object] = {}
        self._boundary: dict = {}
        self._rolling_back = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals; note where the run stands."""
        self._step = trainer.global_step
        self._remember(trainer)
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):  # SIGUSR1 does not exist on Windows
                number = getattr(signal, name)
                self._handlers[number] = signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        if self._received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signal.Signals(number)
        log.info("%s: saving after this step.", self._received.name)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """At the end of an optimiser step: answer signals, save when it is time."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._remember(trainer)
        received = self._agreed(trainer)
        if received or self._step % self.every_n_steps == 0:
            self._save(trainer)
        if received:
            name = (self._received or signal.SIGTERM).name
            self._received = None
            if name != "SIGUSR1":
                raise RunInterruptedError(name, self._step)

    def _agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any process got a signal; all answer alike, so that all save."""
        if trainer.world_size == 1:
            return self._received is not None
        if self._step % STEPS_BETWEEN_VOTES:
            return False
        return trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The finished run."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._keep_previous()
        trainer.save_checkpoint(self.path)

    @rank_zero_only
    def _keep_previous(self) -> None:
        """What last.ckpt was becomes previous.ckpt, by a link, so that last.ckpt is there at every moment."""
        if not zipfile.is_zipfile(self.path):  # absent, or cut short
            return
        previous = self.path.with_name("previous.ckpt")
        link = previous.with_suffix(".partial")
        with contextlib.suppress(OSError):  # a file system without links keeps last.ckpt only
            link.unlink(missing_ok=True)
            os.link(self.path, link)
            link.replace(previous)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save what the last finished step left, unless several processes would have to agree."""
        if isinstance(exception, RunInterruptedError) or trainer.world_size > 1 or not self._boundary:
            return
        self._rolling_back = True
        try:
            trainer.save_checkpoint(self.path)
            log.info("saved %s as step %d left it.", self.path, self._step)
        finally:
            self._rolling_back = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """After an exception inside a step: counters of the last finished step, not of the broken one."""
        if self._rolling_back:
            checkpoint["loops"]["fit_loop"] = self._boundary["fit_loop"]
            checkpoint[self._boundary["data_key"]] = self._boundary["data"]

    def _remember(self, trainer: pl.Trainer) -> None:
        data = trainer.datamodule
        self._boundary = {
            "fit_loop": copy.deepcopy(trainer.fit_loop.state_dict()),
            "data_key": data.__class__.__qualname__ if data else "",
            "data": data.state_dict() if data else {},
        }

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
