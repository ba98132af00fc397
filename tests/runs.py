"""What tests of whole runs of main.py share: runs in processes of their own, and the weights that runs leave."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from formats.run_folder import RUN_VARIABLE

ROOT = Path(__file__).resolve().parents[1]


def launch(argv: Sequence[str], launcher: Sequence[str] = (), **options: object) -> subprocess.Popen:
    """main.py in a process of its own, on one core; `options` are Popen's."""
    environment = {k: v for k, v in os.environ.items() if k != RUN_VARIABLE} | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, *launcher, "main.py", *argv]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options)


def wait_until(done: Callable[[], bool], process: subprocess.Popen, seconds: float = 300) -> None:
    """Wait while the process runs; an AssertionError with its words if it ends first."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if done():
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


def read_last(run: Path) -> dict:
    """The run folder's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_weights(one: Path, other: Path, key: str = "state_dict") -> None:
    """The last checkpoints of two run folders hold the same, bit for bit."""
    first, second = (read_last(run)[key] for run in (one, other))
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different
