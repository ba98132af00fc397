"""What made a result: commit, device, peak memory. Standard library; torch only where the process has it already."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

MEBIBYTE = 2**20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; the system counts in these


def read_commit() -> str:
    """Commit of the project's working tree, "-dirty" where tracked files were changed, "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        described = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


def peak_memory_mib() -> int:
    """Largest memory since the process began, in MiB, whether while loading or while predicting.

    Where a GPU is in use: what torch held of it, not the driver's own; else the process's resident memory.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_allocated() / MEBIBYTE)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT / MEBIBYTE)


def describe_device(device: Any) -> str:
    """Name of a torch.device as a reader knows it: the GPU's product name, or the CPU's kind and threads."""
    torch = sys.modules["torch"]  # who has a device has imported it
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def describe_machine(folder: Path) -> dict[str, Any]:
    """Python, operating system, cores, memory and the size of the disk that holds a folder."""
    page, pages = (os.sysconf(name) if hasattr(os, "sysconf") else 0 for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES"))
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "memory_gib": round(page * pages / 2**30, 1),
        "disk_gib": round(shutil.disk_usage(folder).total / 2**30),
    }
