"""Checkpoints: last.ckpt, every n steps, at the end, and when a run is stopped; epoch-10.ckpt of whole epochs.

A checkpoint always describes the end of an optimiser step; resuming from it repeats the uninterrupted run exactly. Two
stops leave the last periodic one: an exception in one of several processes, which the others do not know of, and a loss
that is not finite, whose weights are of no use.
"""

import contextlib
import copy
import logging
import os
import re
import signal
import zipfile
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from commands.errors import UserError
from formats.atomic import atomic_path
from formats.run_folder import WEIGHTS_ONLY

log = logging.getLogger(__name__)

STOPS = (signal.SIGINT, signal.SIGTERM)  # end the run; SIGUSR1 saves and lets it go on
RUN_STATE = ("state_dict", "loops", "global_step")  # of Lightning's checkpoints
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

    def load_checkpoint(self, path: str | Path, map_location: object = None, weights_only: bool | None = True) -> dict:
        """Read a checkpoint as numbers, text and containers only, whatever else it holds.

        Raises:
            UserError: if it asks for code to be run, or is no checkpoint of a run.
        """
        try:
            checkpoint = super().load_checkpoint(path, map_location=map_location or "cpu", weights_only=True)
        except UnpicklingError as error:
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f"it asks for {asked.group(1)}" if asked else "it is no list of tensors"
            raise UserError(f"{path} is refused: {what}, and a checkpoint may hold numbers and text only.") from None
        except (RuntimeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); go on from another one.") from None
        missing = [name for name in RUN_STATE if not isinstance(checkpoint, dict) or name not in checkpoint]
        if missing:
            raise UserError(f"{path} is no checkpoint of a run of main.py: {missing[0]} is missing.")
        return checkpoint


class EpochCheckpoints(pl.Callback):
    """Keeps epoch-10.ckpt, epoch-50.ckpt, ...: the weights and their average after whole epochs, without the
    optimiser's moments.

    Args:
        folder: the run's checkpoints.
        epochs: numbers of whole epochs, the first is 1.
    """

    def __init__(self, folder: str | Path, epochs: Sequence[int]) -> None:
        wrong = [epoch for epoch in epochs if not isinstance(epoch, int) or epoch < 1]
        if wrong:
            raise UserError(f"lightning.checkpoint.keep_epochs: {wrong[0]!r}; wanted whole numbers from 1 on.")
        self.folder = Path(folder)
        self.epochs = frozenset(epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch that is asked for."""
        epoch = trainer.current_epoch + 1
        if epoch in self.epochs:
            trainer.save_checkpoint(self.folder / f"{WEIGHTS_ONLY}{epoch}.ckpt", weights_only=True)


class StepBoundary(pl.Callback):
    """Notes where the run stands at the end of each optimiser step.

    Goes first: the weights have moved, so the note must not depend on callbacks that may fail at the same step.
    """

    def __init__(self) -> None:
        self.step = 0
        self.state: dict = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the step at which the run begins."""
        self._note(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Note each optimiser step, not each micro-batch."""
        if trainer.global_step != self.step:
            self._note(trainer)

    def _note(self, trainer: pl.Trainer) -> None:
        data = trainer.datamodule
        self.step = trainer.global_step
        self.state = {"loops": copy.deepcopy(trainer.fit_loop.state_dict())}
        if data:
            self.state["data"] = {data.__class__.__qualname__: data.state_dict()}

    def put_back(self, checkpoint: dict) -> None:
        """Counters and data position of the last finished step, in place of those of a broken one."""
        checkpoint["loops"]["fit_loop"] = self.state["loops"]
        checkpoint.update(self.state.get("data", {}))


class LastCheckpoint(pl.Callback):
    """Keeps last.ckpt, and the one before as previous.ckpt.

    Stops the run at the end of a step on SIGINT and SIGTERM, saves and goes on at SIGUSR1.

    Args:
        folder: where last.ckpt goes.
        every_n_steps: optimiser steps between saves.
        boundary: the first callback of the run.
    """

    def __init__(self, folder: str | Path, every_n_steps: int, boundary: StepBoundary) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self.boundary = boundary
        self._step = 0
        self._received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, object] = {}
        self._rolling_back = False
        self._last_is_whole = True  # False where a damaged last.ckpt was passed over at the resume

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals."""
        self._step = trainer.global_step
        self._last_is_whole = trainer.ckpt_path is None or Path(trainer.ckpt_path).name == self.path.name
        for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
            if hasattr(signal, name):  # SIGUSR1 does not exist on Windows
                number = getattr(signal, name)
                self._handlers[number] = signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        if self._received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received not in STOPS:  # a stop is not forgotten over a later SIGUSR1
            self._received = signal.Signals(number)
        log.info("%s: saving after this step.", signal.Signals(number).name)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """At the end of an optimiser step: answer signals, save when it is time."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        own = self._received  # what comes later is answered at a later step
        stop = self._any_process(trainer, own in STOPS)
        asked = stop or self._any_process(trainer, own is not None)
        if asked or self._step % self.every_n_steps == 0:
            self._save(trainer)
        if asked and self._received is own:
            self._received = None
        if stop:
            raise RunInterruptedError((own if own in STOPS else signal.SIGTERM).name, self._step)

    def _any_process(self, trainer: pl.Trainer, vote: bool) -> bool:
        """Whether any process votes so; all get the same answer, so that all save and all stop."""
        if trainer.world_size == 1:
            return vote
        if self._step % STEPS_BETWEEN_VOTES:
            return False
        return trainer.strategy.reduce_boolean_decision(vote, all=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the finished run."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._keep_previous()
        trainer.save_checkpoint(self.path)
        self._last_is_whole = True

    @rank_zero_only
    def _keep_previous(self) -> None:
        """Link the present last.ckpt as previous.ckpt, so that there is a last.ckpt at every moment."""
        if not self._last_is_whole or not zipfile.is_zipfile(self.path):  # damaged, absent, or cut short
            return
        previous = self.path.with_name("previous.ckpt")
        link = previous.with_suffix(".partial")
        with contextlib.suppress(OSError):  # a file system without links keeps last.ckpt only
            link.unlink(missing_ok=True)
            os.link(self.path, link)
            link.replace(previous)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save what the last finished step left, unless its weights broke or several processes would have to agree."""
        if isinstance(exception, RunInterruptedError) or not self.boundary.state:
            return
        if trainer.world_size > 1 or isinstance(exception, FloatingPointError):
            there = f"the last checkpoint stays: {self.path}" if self.path.is_file() else "there is no checkpoint yet"
            log.warning("what step %d left is not saved; %s.", self.boundary.step, there)
            return
        self._rolling_back = True
        try:
            trainer.save_checkpoint(self.path)
            log.info("saved %s as step %d left it.", self.path, self.boundary.step)
        finally:
            self._rolling_back = False

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """After an exception inside a step: counters of the last finished step, not of the broken one."""
        if self._rolling_back:
            self.boundary.put_back(checkpoint)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the handlers of the signals."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
