"""What every benchmark measures with: one clock, one counter of operations and calls, the machine's rates."""

import contextlib
import gc
import os
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark import timer
from torch.utils.flop_counter import FlopCounterMode

from formats.provenance import read_commit

MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
COPY_BYTES = {"cuda": 8 * 10**9, "cpu": 2 * 10**8}
REPEATS = 5  # of the products and copies that tell the machine's rates

Action = Callable[[], Any]


def seconds_of(action: Action, repeats: int = 1) -> float:
    """Seconds of an action, the mean of `repeats` in a row; torch's `timer` waits for the device first."""
    begun = timer()
    for _ in range(repeats):
        action()
    return (timer() - begun) / repeats


def time_in_turns(actions: Sequence[Action], passes: int, repeats: int = 1) -> Iterator[list[list[float]]]:
    """Seconds of each action so far, after each pass; passes alternate (A B C, C B A), so that drift hits all alike."""
    seconds: list[list[float]] = [[] for _ in actions]
    for number in range(passes):
        order = list(enumerate(actions))
        for i, action in order if number % 2 == 0 else reversed(order):
            seconds[i].append(seconds_of(action, repeats))
        yield seconds


def summarise(values: Sequence[float]) -> tuple[float, float]:
    """Median, and spread: the largest minus the smallest."""
    return statistics.median(values), max(values) - min(values)


def median_seconds(action: Action, rounds: int) -> tuple[float, float]:
    """Median and spread of an action's seconds after one warm-up."""
    action()
    return summarise([seconds_of(action) for _ in range(rounds)])


def median_rate(action: Action, count: int, rounds: int) -> tuple[float, float]:
    """Median and spread of how many of `count` things a second an action does, after one warm-up."""
    action()
    return summarise([count / seconds_of(action) for _ in range(rounds)])


def eager() -> contextlib.AbstractContextManager:
    """Context in which compiled networks run as they are written, so that hooks and counters see every call."""
    return torch.compiler.set_stance("force_eager")


def count_flop(action: Action) -> int:
    """Floating-point operations, two a multiply-add; on the CPU, unlike on the meta device, attention is left out."""
    with eager(), FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops()


def count_calls(networks: Mapping[str, nn.Module], calls: Counter) -> list[Any]:
    """Count the forward passes of networks by name; returns the hooks, whose removal ends the count."""
    return [
        network.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
        for name, network in networks.items()
    ]


def bytes_of(network: nn.Module) -> int:
    """Size of a network's weights."""
    return sum(p.nbytes for p in network.parameters())


def peak_mib(action: Action, device: torch.device) -> float | None:
    """Largest memory of the GPU during an action; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    action()
    return torch.cuda.max_memory_allocated(device) / 2**20


def free_memory() -> None:
    """Give back what the last row held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fastest_device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def measure_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Best matrix-product rate (FLOP/s) on random data and copy rate (bytes/s, read and written) of this machine."""
    side = MATRIX_SIDE.get(device.type, 1024)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.empty(COPY_BYTES.get(device.type, 10**8), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = min(seconds_of(lambda: a @ b) for _ in range(REPEATS))
    copy = min(seconds_of(lambda: target.copy_(source)) for _ in range(REPEATS))
    return 2 * side**3 / product, 2 * source.numel() / copy


def machine_facts(device: torch.device, rates: tuple[float, float] | None = None) -> dict[str, Any]:
    """Device, versions, threads, load, commit and command of this run; the rates where they are known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    known = {"matrix_tflops": rates[0] / 1e12, "copy_gb_per_s": rates[1] / 1e9} if rates else {}
    return known | {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "commit": read_commit(),
        "command": "python -m benchmark " + " ".join(sys.argv[1:]),
    }
