"""Peaks of resident memory, from Linux's /proc."""

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Gives what says, after the block, by how many bytes it raised the peak above what was resident before."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what the allocator keeps back is not in use
    RESET.write_text("5")  # resets the peak
    before, peak = _read("VmRSS"), []
    yield lambda: peak[0] - before
    peak.append(_read("VmHWM"))


def _read(field: str) -> int:
    return int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text()).group(1)) * 1024
