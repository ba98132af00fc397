"""One data set shared by the processes that torchrun started: who predicts which pairs, and when all are done.

Shares are whole batches, dealt in turn, so that every pair is predicted in the batch that one process alone would
predict it in: together the same bytes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")

PATIENCE = timedelta(days=7)  # that a process waits for the slowest


@dataclass(frozen=True)
class Share:
    """One process's part of the work.

    Args:
        rank: of this process.
        world_size: processes that share the work.
    """

    rank: int = 0
    world_size: int = 1

    @staticmethod
    def of_launcher(environment: Mapping[str, str] = os.environ) -> "Share":
        """What torchrun says; the whole without it."""
        if "TORCHELASTIC_RUN_ID" not in environment:
            return Share()
        return Share(int(environment["RANK"]), int(environment["WORLD_SIZE"]))

    @property
    def alone(self) -> bool:
        """Whether nobody shares."""
        return self.world_size == 1

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def choose(self, items: Sequence[Item], batch_size: int) -> list[Item]:
        """This process's items: batches rank, rank + world_size, ... of `batch_size`."""
        return [item for i, item in enumerate(items) if i // batch_size % self.world_size == self.rank]

    def wait(self) -> None:
        """Until all processes have come here; they talk over the CPU, whatever they compute on."""
        if self.alone:
            return
        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=PATIENCE)
        distributed.barrier()


def choose_own_device(environment: Mapping[str, str] = os.environ) -> None:
    """One accelerator of this machine for each of its processes, in turn."""
    if "LOCAL_RANK" in environment and torch.accelerator.is_available():
        torch.accelerator.set_device_index(int(environment["LOCAL_RANK"]) % torch.accelerator.device_count())
