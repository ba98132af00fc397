"""Laws of the pool: it works in other processes, and they end with their parent, even a killed one."""

import os
import signal
import subprocess
import sys
import time

from commands.processes import available_cores, make_pool

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


def test_work_is_done_elsewhere():
    with make_pool(1) as pool:
        assert pool.submit(abs, -3).result() == 3
        assert pool.submit(os.getpid).result() != os.getpid()


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
