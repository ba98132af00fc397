"""Processes that work in parallel and never outlive the command that started them. Standard library only."""

import argparse
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, or all where the system has no such thing (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_shard(text: str) -> tuple[int, int]:
    """ "0/4" => share 0 of 4, as --shard gives it.

    Raises:
        ArgumentTypeError: if the text is anything else.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' is no share; write 0/4, 1/4, 2/4, 3/4.")
    return int(index), int(count)


def make_pool(workers: int, prepare: Callable | None = None, *arguments: object) -> ProcessPoolExecutor:
    """Pool of fresh processes (a fork would copy the progress bar's thread and open files in an undefined state).

    A killed command would leave the pool's processes behind, waiting for ever, or still writing where the repeated
    command writes too; so each ends itself when its parent is gone.

    Args:
        workers: number of processes.
        prepare: called with `arguments` in each process before its first task.
        arguments: sent once to each process.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(prepare, arguments))


def run_jobs(work: Callable[..., Result], jobs: Sequence[tuple], workers: int) -> Iterator[Result]:
    """Results of `work(*job)` as they are ready, from this process or from a pool of several.

    A caller that leaves early ends the pool's processes at once: whole files only are written, so nothing is lost but
    time.
    """
    if workers <= 1:
        yield from (work(*job) for job in jobs)
        return
    strangers = set(multiprocessing.active_children())
    with make_pool(min(workers, len(jobs) or 1)) as pool:
        try:
            yield from (future.result() for future in as_completed([pool.submit(work, *job) for job in jobs]))
        except BaseException:
            for worker in set(multiprocessing.active_children()) - strangers:
                worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def leave_signals_to_parent(*_: object) -> None:
    """In a worker: Ctrl-C, and what a scheduler sends, reach every process; the parent answers them.

    The parent's own SIGTERM, by which it ends its workers, is obeyed.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):  # SIGUSR1 does not exist on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # Linux: it says who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, daemon=True).start()


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _begin(prepare: Callable | None, arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the parent answers it

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process writes what a run writes once: config, folder, W&B id.

    Told before Lightning knows the ranks, by torchrun's RANK, srun's SLURM_PROCID, or Lightning's LOCAL_RANK.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in environment:
            return int(environment[name]) == 0
    return all(int(environment.get(name, 0)) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))
