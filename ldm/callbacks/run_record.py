"""run.json: what made this run, so that its numbers can be traced."""

import sys
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from formats.atomic import read_json, write_json
from formats.provenance import describe_device, describe_machine, read_commit


class RunFacts(pl.Callback):
    """Keeps run.json: commands, commits, devices, versions, optimiser steps, samples and seconds of training.

    A resumed run adds a part to the list; seconds are those inside `fit`, validation included.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "run.json"
        self._parts: list[dict] = []
        self._since = 0.0
        self._first_step = 0

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a part to the record."""
        earlier = read_json(self.path).get("parts", []) if self.path.is_file() else []
        self._since, self._first_step = time.monotonic(), trainer.global_step
        part = {
            "command": "python " + " ".join(sys.argv),
            "commit": read_commit(),
            "device": describe_device(pl_module.device),
            "num_devices": trainer.world_size,
            "precision": str(trainer.precision),
            "torch": torch.__version__,
            "pytorch_lightning": pl.__version__,
            **describe_machine(self.path.parent),
            "trained_parameters": sum(parameter.numel() for parameter in pl_module.trained_parameters()),
            "samples": _count_samples(trainer),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }
        self._parts = [*earlier, part]
        self._write(trainer)

    @rank_zero_only
    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Write the record with each checkpoint, so that a killed run has both of one age."""
        if self._parts:
            self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        self._parts[-1] |= {
            "first_step": self._first_step,
            "last_step": trainer.global_step,
            "seconds": round(time.monotonic() - self._since, 1),
        }
        write_json(self.path, {"steps": trainer.global_step, "parts": self._parts})


def _count_samples(trainer: pl.Trainer) -> int | None:
    """Training pairs; None where they come as a stream."""
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    return len(dataset) if hasattr(dataset, "__len__") else None
