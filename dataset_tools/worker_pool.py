"""Processes that work in parallel and never outlive the command that started them. Layer 1: standard library only."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


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
