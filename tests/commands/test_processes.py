"""Laws of the pool: it works in other processes, and they end with their parent, even a killed one."""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from commands.processes import available_cores, parse_shard, run_jobs

PARENT = """
import os, time
from commands.processes import make_pool
pool = make_pool(1)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(60)
"""


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_cores_are_counted_on_every_system(monkeypatch):
    assert 1 <= available_cores() <= os.cpu_count()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert available_cores() == os.cpu_count()


def test_a_share_is_one_of_so_many_counted_from_nought():
    assert [parse_shard(text) for text in ("0/1", "3/4")] == [(0, 1), (3, 4)]
    for wrong in ("4/4", "-1/4", "1", "1/", "²/4", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{wrong}' is no share"):
            parse_shard(wrong)


def test_jobs_are_done_here_or_elsewhere():
    """Who leaves early ends the processes that are still at work."""
    assert list(run_jobs(divmod, [(7, 2), (9, 4)], 1)) == [(3, 1), (2, 1)]
    assert sorted(run_jobs(divmod, [(7, 2), (9, 4)], 2)) == [(2, 1), (3, 1)]
    before, slow = multiprocessing.active_children(), run_jobs(time.sleep, [(0,), (600,)], 2)
    assert next(slow) is None and len(multiprocessing.active_children()) == len(before) + 2
    slow.close()
    assert multiprocessing.active_children() == before


def test_workers_of_a_killed_command_end():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert is_running(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(worker)
