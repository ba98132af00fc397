"""Speed of training: python -m benchmark training

    python -m benchmark training                              the small twin of every row, on this machine's CPU
    python -m benchmark training --rows T2 T3 --rounds 1      some of them, once
    python -m benchmark training --dtype bf16 --output metrics/results        on a GPU: full size, rows T1 to T8

T1  a step from cached latents, micro-batch 64              T5  an epoch of 10,491 pairs, at the rate of T3
T2  16 pairs a step: ours, the plain recipe, diffusers      T6  memory of a step: AdamW, 8 bits, LoRA
T3  T2 with LPIPS + L1: gated, exact, naive                 T7  the cached loader alone, against PIL
T4  building the cache                                      T8  what Lightning's Trainer adds to a bare loop

Prints, in one run on one device: seconds of an optimiser step, and of its parts (data, encode, U-Net, loss hooks,
optimiser); samples a second; the floor from a matrix product and a copy measured in the same run, and how many times
the floor each case takes; calls of each network; the peer where diffusers is installed. Cases of a row take turns
(A B C C B A). Files are written after each round and row, so an interrupted run keeps what it has measured.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark import training_rows
from benchmark.measuring import machine_facts, measure_rates
from benchmark.training_data import Bench
from benchmark.training_steps import PEER, PLAIN_MICRO_BATCH, SIZES, Case, OurStep, diffusers_case, image_loss
from commands.errors import UserError
from formats.atomic import write_json, write_text
from prediction.predictor import DTYPES

log = logging.getLogger(__name__)

ADAMW_BYTES = 28  # a parameter and step in fp32: read weight, gradient, two moments; write weight and two moments
ROWS = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8")
PARTS = ("data", "encode", "U-Net", "loss hooks", "optimiser")
WIDE = 64  # pairs of T1's micro-batch
DEFAULTS = {"cuda": (5, 10, 512), "cpu": (3, 1, WIDE)}  # rounds, steps of a case in a round, pairs on disk


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    training_rows.wait_for(device)


def median_seconds(action: Callable[[], object], device: torch.device, rounds: int) -> tuple[float, float]:
    """Median and spread (largest minus smallest) of an action's seconds after one warm-up."""
    action()
    times = [seconds_of(action, device) for _ in range(rounds)]
    return statistics.median(times), max(times) - min(times)


def seconds_of(action: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Seconds of an action, the mean of `repeats` in a row."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def floor_seconds(case: Case, rates: tuple[float, float], parameters: int) -> float:
    """The least time of a step: its products at the measured rate and AdamW's traffic at the copy's."""
    with FlopCounterMode(display=False) as counter:
        case.step()
    return counter.get_total_flops() / rates[0] + ADAMW_BYTES * parameters / rates[1]


def make_cases(row: str, bench: Bench) -> tuple[list[Case], list[str]]:
    """The cases of T1, T2 or T3, and what is to be said about one that is missing."""
    gated, tiny, exact = image_loss("gated"), image_loss("gated", tiny_decoder=True), image_loss("exact")
    ours: dict[str, dict[str, tuple]] = {  # row: name: micro-batch, cached, image loss, pairs where they are not 16
        "T1": {f"ours, cached, {WIDE} x 1": (WIDE, True, None, WIDE)},
        "T2": {
            "ours, cached, 16 x 1": (16, True, None),
            f"plain recipe, online, {PLAIN_MICRO_BATCH} x 8": (PLAIN_MICRO_BATCH, False, None),
        },
        "T3": {
            "ours, cached, gated LPIPS + L1, tiny decoder, 16 x 1": (16, True, tiny),
            "ours, cached, gated LPIPS + L1, 16 x 1": (16, True, gated),
            "ours, cached, exact LPIPS + L1, 16 x 1": (16, True, exact),
            f"plain recipe, online, naive LPIPS + L1, {PLAIN_MICRO_BATCH} x 8": (PLAIN_MICRO_BATCH, False, exact),
        },
    }
    cases = [OurStep(bench, *options).case(f"{row} {name}") for name, options in ours[row].items()]
    if row != "T2":
        return cases, []
    try:
        return [*cases, diffusers_case(bench, f"{row} {PEER}")], []
    except ImportError as error:
        return cases, [f"{PEER} is left out: {error}."]


def measure_cases(
    cases: Sequence[Case], bench: Bench, rates: tuple[float, float], rounds: int, steps: int
) -> Iterator[list[dict]]:
    """Lines of the cases after each round, the last time with their parts.

    The cases alternate (A B C C B A), so that a drifting clock hits all alike.
    """
    device = bench.device
    floors = [floor_seconds(case, rates, case.parameters) for case in cases]  # these steps warm up
    seconds: list[list[float]] = [[] for _ in cases]
    for number in range(rounds):
        order = list(enumerate(cases))
        for i, case in order if number % 2 == 0 else reversed(order):
            seconds[i].append(seconds_of(case.step, device, steps))
        yield [_line(*of_case) for of_case in zip(cases, seconds, floors, strict=True)]
    lines = [_line(*of_case) for of_case in zip(cases, seconds, floors, strict=True)]
    for line, case in zip(lines, cases, strict=True):
        line["parts"] = {name: median_seconds(action, device, 2)[0] for name, action in case.parts.items()}
    yield lines


def _line(case: Case, seconds: Sequence[float], floor: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {
        "case": case.name,
        "rounds": len(seconds),
        "seconds": median,
        "spread": max(seconds) - min(seconds),
        "pairs": case.pairs,
        "samples_per_second": case.pairs / median,
        "floor_seconds": floor,
        "times_floor": median / floor,
        "parts": {},
        "calls": dict(case.calls),
        "trained_parameters": case.parameters,
    }


def measure_training(
    bench: Bench, rows: Sequence[str], dtype: str, rounds: int, steps: int, keep: Callable[[dict], None]
) -> dict[str, Any]:
    """All rows that are wanted; `keep` gets the result so far after each round and row."""
    rates = measure_rates(bench.device, bench.dtype)
    result: dict[str, Any] = {"matmul_gflops": rates[0] / 1e9, "copy_gb_per_s": rates[1] / 1e9}
    result |= {"rows": [], "lines": [], "notes": []}
    for row in (row for row in ("T1", "T2", "T3") if row in rows):
        cases, notes = make_cases(row, bench)
        before = result["rows"]
        for lines in measure_cases(cases, bench, rates, rounds, steps):
            result["rows"] = [*before, *lines]
            keep(result)
        result["notes"] += notes
        keep(result)
        del cases
        training_rows.free_memory()
        log.info("%s is measured", row)
    for row in (row for row in ROWS[3:] if row in rows):
        result["lines"] += [asdict(line) for line in _other_lines(row, bench, dtype, rounds, steps, result["rows"])]
        training_rows.free_memory()
        keep(result)
        log.info("%s is measured", row)
    return result


def _other_lines(
    row: str, bench: Bench, dtype: str, rounds: int, steps: int, measured: Sequence[dict]
) -> list[training_rows.Line]:
    """The lines of one of T4 to T8."""
    if row == "T4":
        return [training_rows.measure_cache(bench, rounds)]
    if row == "T5":
        at = next((line for line in measured if line["case"].startswith("T3")), None)
        return [training_rows.derive_epoch(at["samples_per_second"], at["case"])] if at else []
    if row == "T6":
        return training_rows.measure_memory(bench)
    if row == "T7":
        return [training_rows.measure_loader(bench, rounds)]
    return [training_rows.measure_trainer(bench, dtype, max(4, steps), rounds)]


def format_rows(result: dict) -> str:
    """The tables as markdown."""
    machine = result["machine"]
    lines = [
        "# Speed of training",
        "",
        f"{machine['device']}, {machine['threads']} thread(s), load {machine['load']}, torch {machine['torch']}, "
        f"commit {machine['commit']}; size {result['size']}, {result['dtype']}; matrix product "
        f"{result['matmul_gflops']:.1f} GFLOP/s, copy {result['copy_gb_per_s']:.1f} GB/s",
        "",
        f"`{machine['command']}`",
        "",
        f"| case | s / step | spread | samples/s | floor s | x floor | {' | '.join(PARTS)} | calls |",
        "|---|" + "---:|" * (5 + len(PARTS)) + "---|",
    ]
    for row in result["rows"]:
        parts = [f"{row['parts'][name]:.4f}" if name in row["parts"] else "-" for name in PARTS]
        calls = ", ".join(f"{name} {count}" for name, count in row["calls"].items())
        numbers = [f"{row[key]:.4f}" for key in ("seconds", "spread")] + [f"{row['samples_per_second']:.1f}"]
        numbers += [f"{row['floor_seconds']:.4f}", f"{row['times_floor']:.1f}", *parts]
        lines.append(f"| {row['case']} | {' | '.join(numbers)} | {calls} |")
    lines += ["", "| row | what | value | spread | compared with | times | |", "|---|---|---:|---:|---|---:|---|"]
    lines += [_format_line(line) for line in result["lines"]]
    return "\n".join([*lines, "", *result["notes"]])


def _format_line(line: dict) -> str:
    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:,.4g} {unit}".strip()

    peer = f"{line['peer_name']} {number(line['peer'], line['unit'])}" if line["peer"] else "-"
    times = number(line["value"] / line["peer"]) if line["peer"] and line["value"] else "-"
    value, spread = number(line["value"], line["unit"]), number(line["spread"])
    return f"| {line['row']} | {line['what']} | {value} | {spread} | {peer} | {times} | {line['note']} |"


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SIZES, help="default: full on a GPU, tiny on a CPU")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32", help="of the forward pass, by autocast as in main.py"
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="default: all")
    parser.add_argument("--rounds", type=int, help=f"of all cases in turns; default: {_say_defaults(0)}")
    parser.add_argument("--steps", type=int, help=f"of a case in a round; default: {_say_defaults(1)}")
    parser.add_argument("--output", type=Path, help="folder for training.json and training.md")
    return parser


def _say_defaults(place: int) -> str:
    return ", ".join(f"{numbers[place]} on {device}" for device, numbers in DEFAULTS.items())


def run(argv: Sequence[str]) -> str:
    """Measure and write what is asked for; the table.

    Raises:
        ValueError: if rounds or steps are fewer than one, or a CPU is asked for fp16.
    """
    opt = make_parser().parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rounds, steps, num_pairs = DEFAULTS[device.type]
    rounds, steps = (
        default if given is None else given for given, default in ((opt.rounds, rounds), (opt.steps, steps))
    )
    if min(rounds, steps) < 1:
        raise UserError(f"--rounds {rounds} --steps {steps}: wanted at least one of each.")
    if opt.dtype == "fp16" and device.type == "cpu":
        raise UserError("--dtype fp16: Lightning trains in bf16 on a CPU when asked for fp16; give --dtype bf16.")
    size = opt.size or ("full" if device.type == "cuda" else "tiny")
    facts = {"machine": machine_facts(device), "size": size, "dtype": opt.dtype}

    def keep(result: dict) -> None:
        if opt.output:
            write_json(opt.output / "training.json", facts | result)
            write_text(opt.output / "training.md", format_rows(facts | result) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(SIZES[size], device, Path(folder), DTYPES[opt.dtype], num_pairs)
        result = measure_training(bench, opt.rows, opt.dtype, rounds, steps, keep)
    return format_rows(facts | result)
