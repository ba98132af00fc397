"""How much memory this process has needed at most. Torch and the standard library."""

import resource
import sys

import torch

MEBIBYTE = 2**20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; the system counts in these


def peak_memory_mib() -> int:
    """Largest memory since the process began, in MiB, so at loading or at predicting.

    Where a GPU is in use: what torch held of it, not the driver's own; else the process's resident memory.
    """
    if torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_allocated() / MEBIBYTE)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / MEBIBYTE)
