"""Processes that work in parallel and never outlive the command that started them. Layer 1: standard library only."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, or all where the system has no such thing (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_pool(workers: int) -> ProcessPoolExecutor:
    """Pool of fresh processes (a fork would copy the progress bar's thread and open files in an undefined state).

    A killed command would leave the pool's processes behind, waiting for ever, or still writing where the repeated
    command writes too; so each ends itself when its parent is gone.
    """
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
