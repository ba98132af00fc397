"""Speed of training: python -m metrics.benchmark training

Prints, in one run on one device: seconds of an optimiser step over 16 pairs, by part; samples a second; the floor from
a matrix product and a copy measured in the same run, and how many times the floor each case takes; calls of each
network; the peer where diffusers is installed. Layer 1. Source of the rules: shared/design/performance.md, section 6.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ldm.data.atomic import write_json, write_text
from metrics.benchmark_report import machine_facts, measure_rates
from metrics.training_cases import PAIRS, PEER, PLAIN_MICRO_BATCH, SIZES, Case, OurStep, diffusers_case

ADAMW_BYTES = 28  # a parameter and step in fp32: read weight, gradient, two moments; write weight and two moments


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(action: Callable[[], object], device: torch.device, rounds: int) -> tuple[float, float]:
    """Median and spread (largest minus smallest) of an action's seconds after one warm-up."""
    action()
    times = []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        action()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times), max(times) - min(times)


def floor_seconds(case: Case, rates: tuple[float, float], parameters: int) -> float:
    """The least time of a step: its products at the measured rate and AdamW's traffic at the copy's."""
    with FlopCounterMode(display=False) as counter:
        case.step()
    return counter.get_total_flops() / rates[0] + ADAMW_BYTES * parameters / rates[1]


def make_cases(size: str, device: torch.device, wanted: str = "") -> tuple[list[Case], list[str]]:
    """The cases whose names contain `wanted`, and what is to be said about those that are missing."""
    shape = SIZES[size]
    ours = {  # name: micro-batch, cached, image loss
        "ours, cached, 16 x 1": (PAIRS, True, None),
        "ours, cached, gated LPIPS + L1, 16 x 1": (PAIRS, True, "gated"),
        "plain recipe, online, 2 x 8": (PLAIN_MICRO_BATCH, False, None),
        "plain recipe, online, naive LPIPS + L1, 2 x 8": (PLAIN_MICRO_BATCH, False, "exact"),
    }
    cases = [OurStep(shape, *options, device).case(name) for name, options in ours.items() if wanted in name]
    if wanted not in PEER:
        return cases, []
    try:
        return [*cases, diffusers_case(shape, device)], []
    except ImportError as error:
        return cases, [f"{PEER} is left out: {error}."]


def measure_training(size: str, device: torch.device, rounds: int, wanted: str = "") -> dict:
    """Training rows on one device; cases alternate (A B C C B A) so that a drifting clock hits all alike."""
    cases, notes = make_cases(size, device, wanted)
    rates = measure_rates(device, torch.float32)
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for round_number in range(rounds):
        for case in cases if round_number % 2 == 0 else reversed(cases):
            seconds[case.name].append(median_seconds(case.step, device, 1)[0])
    return {
        "size": size,
        "pairs_per_step": PAIRS,
        "trained_parameters": cases[0].parameters,
        "matmul_gflops": rates[0] / 1e9,
        "copy_gb_per_s": rates[1] / 1e9,
        "rows": [_row(case, seconds[case.name], rates, device) for case in cases],
        "notes": notes,
    }


def _row(case: Case, seconds: Sequence[float], rates: tuple[float, float], device: torch.device) -> dict:
    median = statistics.median(seconds)
    floor = floor_seconds(case, rates, case.parameters)
    return {
        "case": case.name,
        "seconds": median,
        "spread": max(seconds) - min(seconds),
        "samples_per_second": PAIRS / median,
        "floor_seconds": floor,
        "times_floor": median / floor,
        "parts": {name: median_seconds(action, device, 2)[0] for name, action in case.parts.items()},
        "calls": dict(case.calls),
    }


def describe_run(device: torch.device) -> dict:
    """Device, versions, load, commit and command of this run."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return machine_facts(device) | {
        "load": round(os.getloadavg()[0], 1),
        "commit": described.stdout.strip() or "unknown",
        "command": "python -m metrics.benchmark " + " ".join(sys.argv[1:]),
    }


def format_rows(result: dict) -> str:
    """The table as markdown."""
    machine = result["machine"]
    lines = [
        f"{machine['device']}, {machine['threads']} thread(s), load {machine['load']}, torch {machine['torch']}, "
        f"commit {machine['commit']}; matrix product {result['matmul_gflops']:.1f} GFLOP/s, copy "
        f"{result['copy_gb_per_s']:.1f} GB/s; {result['trained_parameters'] / 1e6:.2f} M parameters",
        "",
        f"`{machine['command']}`",
        "",
        "| case | s / step | spread | samples/s | floor s | x floor | encode | U-Net, losses | optimiser | calls |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in result["rows"]:
        parts = [
            f"{row['parts'][n]:.3f}" if n in row["parts"] else "-" for n in ("encode", "U-Net and losses", "optimiser")
        ]
        calls = ", ".join(f"{name} {count}" for name, count in row["calls"].items())
        numbers = [f"{row[key]:.3f}" for key in ("seconds", "spread")] + [f"{row['samples_per_second']:.1f}"]
        numbers += [f"{row['floor_seconds']:.4f}", f"{row['times_floor']:.1f}", *parts]
        lines.append(f"| {row['case']} | {' | '.join(numbers)} | {calls} |")
    return "\n".join([*lines, "", *result["notes"]])


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(prog="python -m metrics.benchmark training", description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=SIZES, help="default: full on a GPU, tiny on a CPU")
    parser.add_argument("--cases", default="", help="only cases whose names contain this, such as cached")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for training.json and training.md")
    return parser


def run(argv: Sequence[str]) -> str:
    """Measure and write what is asked for; the table."""
    opt = make_parser().parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = opt.size or ("full" if device.type == "cuda" else "tiny")
    result = measure_training(size, device, opt.rounds, opt.cases)
    result["machine"] = describe_run(device)
    table = format_rows(result)
    if opt.output:
        write_json(opt.output / "training.json", result)
        write_text(opt.output / "training.md", table + "\n")
    return table
