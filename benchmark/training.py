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
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.benchmark import timer

from benchmark import training_steps
from benchmark.measuring import (
    Bench,
    Row,
    count_flop,
    free_memory,
    machine_facts,
    measure_rates,
    median_rate,
    median_seconds,
    own_device,
    peak_mib,
    read_size,
    seconds_of,
    summarise,
    time_in_turns,
)
from benchmark.peers import MICRO_BATCH, DiffusersStep
from benchmark.training_steps import OurStep, image_loss, tiny_decoder
from commands.errors import UserError
from formats.atomic import write_json, write_text
from ldm.data.base import DataModuleFromConfig
from ldm.util import instantiate_from_config
from prediction.predictor import DTYPES

log = logging.getLogger(__name__)

ADAMW_BYTES = 28  # a parameter and step in fp32: read weight, gradient, two moments; write weight and two moments
ROWS = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8")
PARTS = ("data", "encode", "U-Net", "loss hooks", "optimiser")
WIDE = 64  # pairs of T1's micro-batch
DEFAULTS = {"cuda": (5, 10, 512), "cpu": (3, 1, WIDE)}  # rounds, steps of a case in a round, pairs on disk
EPOCH = 10_491  # pairs of light_future's second stage
LOADED = 64  # samples of a timed pass of the loaders
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # our flag: Lightning's
LORA = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "lora", "rank": 8}}
MEMORY_CASES: dict[str, tuple[int, dict[str, Any]]] = {  # name: pairs of a micro-batch, model parameters
    "micro-batch 16, AdamW": (16, {}),
    "micro-batch 4, AdamW of 8 bits": (4, {"optimizer_bits": 8}),
    "micro-batch 4, LoRA": (4, {"trainable_config": LORA}),
}

Step = OurStep | DiffusersStep


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be measured.

    Args:
        size: of the networks: full or tiny.
        dtype: of the forward pass: fp32, bf16 or fp16.
        rows: some of ROWS.
        rounds: of all cases in turns; None takes the device's number.
        steps: of a case in a round; None takes the device's number.

    Raises:
        UserError: if rounds or steps are fewer than one, or a CPU is asked for fp16.
    """

    device: torch.device
    size: str
    dtype: str = "fp32"
    rows: Sequence[str] = ROWS
    rounds: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, default in zip(("rounds", "steps"), DEFAULTS[self.device.type], strict=False):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if min(self.rounds, self.steps) < 1:
            raise UserError(f"--rounds {self.rounds} --steps {self.steps}: wanted at least one of each.")
        if self.dtype == "fp16" and self.device.type == "cpu":
            raise UserError("--dtype fp16: Lightning trains in bf16 on a CPU when asked for fp16; give --dtype bf16.")

    def bench(self, folder: Path) -> Bench:
        """The place where it is measured."""
        return Bench(read_size(self.size), self.device, folder, DTYPES[self.dtype], DEFAULTS[self.device.type][2])


def make_cases(row: str, bench: Bench) -> tuple[list[Step], list[str]]:
    """The cases of T1, T2 or T3, and a note about one that is missing."""

    def ours(name: str, *options: Any) -> OurStep:
        return OurStep(bench, f"{row} {name}", *options)

    if row == "T1":
        return [ours(f"ours, cached, {WIDE} x 1", WIDE, True, None, WIDE)], []
    if row == "T3":
        gated, exact = image_loss("gated", crop=16), image_loss()
        tiny = image_loss("gated", tiny_decoder_config=tiny_decoder(bench.config["model"]["params"]["scale_factor"]))
        return [
            ours("ours, cached, gated LPIPS + L1, tiny decoder, 16 x 1", 16, True, tiny),
            ours("ours, cached, gated LPIPS + L1, 16 x 1", 16, True, gated),
            ours("ours, cached, exact LPIPS + L1, 16 x 1", 16, True, exact),
            ours(f"plain recipe, online, naive LPIPS + L1, {MICRO_BATCH} x 8", MICRO_BATCH, False, exact),
        ], []
    cases: list[Step] = [
        ours("ours, cached, 16 x 1", 16, True),
        ours(f"plain recipe, online, {MICRO_BATCH} x 8", MICRO_BATCH, False),
    ]
    peer = f"diffusers' loop, online, {MICRO_BATCH} x 8"
    try:
        return [*cases, DiffusersStep(bench, f"{row} {peer}")], []
    except ImportError as error:
        return cases, [f"{peer} is left out: {error}."]


def measure_cases(cases: Sequence[Step], rates: tuple[float, float], rounds: int, steps: int) -> Iterator[list[Row]]:
    """Rows of the cases after each round, the last time with their parts.

    A floor is the products of a step at the measured rate and AdamW's traffic at the copy's.
    """
    floors = [count_flop(case.step) / rates[0] + ADAMW_BYTES * case.parameters / rates[1] for case in cases]  # warm up

    rows: list[Row] = []
    for seconds in time_in_turns([case.step for case in cases], rounds, steps):
        rows = [_row(*of_case) for of_case in zip(cases, seconds, floors, strict=True)]
        yield rows
    timed = [{name: median_seconds(act, 2)[0] for name, act in case.parts().items()} for case in cases]
    yield [replace(row, counted=row.counted | {"parts": of}) for row, of in zip(rows, timed, strict=True)]


def _row(case: Step, seconds: Sequence[float], floor: float) -> Row:
    median, spread = summarise(seconds)
    counted = {"rounds": len(seconds), "pairs": case.pairs, "parts": {}, "calls": dict(case.calls)}
    counted["trained_parameters"] = case.parameters
    row, _, what = case.name.partition(" ")
    note = f"{case.pairs / median:.1f} samples/s"
    return Row(row, what, median, "s/step", spread=spread, floor=floor, note=note, counted=counted)


def measure_cache(bench: Bench, rounds: int) -> Row:
    """T4: pictures a second, decoded and encoded."""
    model = OurStep(bench, "T4", training_steps.PAIRS, False).model

    def build() -> None:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            bench.build_cache(model, Path(folder))

    rate, spread = median_rate(build, 2 * bench.num_pairs, rounds)
    return Row(
        "T4", f"build the cache, {bench.resolution} px, JPEG decoding included", rate, "pictures/s", spread=spread
    )


def derive_epoch(samples_per_second: float, case: str) -> Row:
    """T5: an epoch at the rate of a measured case."""
    what = f"an epoch of {EPOCH:,} pairs at the rate of '{case}'"
    return Row("T5", what, EPOCH / samples_per_second, note="computed, not run")


def measure_memory(bench: Bench, name: str, micro: int, model: dict[str, Any]) -> Row:
    """T6: bytes of weights, gradients and moments after a step; on a GPU the peak of the step too."""
    free_memory()
    try:
        made = OurStep(bench, name, micro, True, None, micro, **model)
    except UserError as error:  # bitsandbytes is not installed
        return Row("T6", name, None, "GiB", note=str(error).splitlines()[0])

    def step() -> None:
        made.learn(made.encode(made.data()))
        made.scaler.step(made.optimizer)

    peak = peak_mib(step, bench.device)  # of the step: making the cache needs more
    if peak is None:
        step()
    state = [value for entry in made.optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    gradients = [p.grad for p in made.model.parameters() if p.grad is not None]
    held = sum(t.nbytes for t in [*made.model.model.parameters(), *gradients, *state]) / 2**30
    if peak is None:
        return Row("T6", name, held, "GiB", note="counted: U-Net, gradients, moments; no activations")
    return Row("T6", name, peak / 2**10, "GiB", note=f"U-Net, gradients and moments {held:.3f} GiB")


def measure_loader(bench: Bench, rounds: int) -> Row:
    """T7: the cached loader alone, without workers, against reading the pictures with PIL."""
    pairs = training_steps.PAIRS
    made = OurStep(bench, "T7", pairs, True)
    pictures = instantiate_from_config(bench.node, "data")
    host = Bench(bench.config, torch.device("cpu"), bench.folder, num_pairs=bench.num_pairs)
    batches = [[i % bench.num_pairs for i in range(start, start + pairs)] for start in range(0, LOADED, pairs)]
    (cached, spread), (read, _) = (
        median_rate(lambda data=data: [host.read(data, rows) for rows in batches], LOADED, rounds)
        for data in (made.dataset, pictures)
    )
    what = "the cached loader alone, one process"
    return Row("T7", what, cached, "samples/s", read, "pictures by PIL", spread)


def measure_trainer(bench: Bench, dtype: str, steps: int, rounds: int) -> Row:
    """T8: seconds of a step under Lightning's Trainer and in a bare loop, T2's shape, taken in turns."""
    made = OurStep(bench, "T8", training_steps.PAIRS, True)
    bare, trained = [], []
    made.step()
    for _ in range(rounds):
        bare.append(seconds_of(made.step, steps))
        trained.append(_step_of_trainer(bench, made, PRECISIONS[dtype], steps))
    (value, spread), (peer, _) = summarise(trained), summarise(bare)
    note = f"the Trainer adds {100 * (value / peer - 1):.1f} %"
    return Row("T8", "Lightning's Trainer, T2's shape", value, "s/step", peer, "bare loop", spread, note=note)


class _StepClock(pl.Callback):
    """When the first and the last step ended: no setting up, no clearing away."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.begun = self.ended = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step in (1, self.last):
            self.ended = timer()
            self.begun = self.begun or self.ended


def _step_of_trainer(bench: Bench, made: OurStep, precision: str, steps: int) -> float:
    """Seconds of a step, from the end of the first one to the end of the last."""
    node = bench.cached_node(made.model, frames=False)
    data = DataModuleFromConfig(batch_size=made.pairs, seed=0, num_workers=0, train=node)
    data.setup()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    clock = _StepClock(steps + 1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = pl.Trainer(
        accelerator="gpu" if bench.device.type == "cuda" else "cpu",
        devices=1,
        precision=precision,
        max_steps=steps + 1,
        max_epochs=-1,
        callbacks=[clock],
        **quiet,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frozen parts and of missing validation
        trainer.fit(made.model, data)
    made.model.to(bench.device)  # Lightning gives it back on the CPU
    return (clock.ended - clock.begun) / steps


def measure_rows(request: TrainingRequest, bench: Bench, rates: tuple[float, float]) -> Iterator[list[Row] | str]:
    """All rows that are wanted: after each round the row's cases so far, then each of the others; and notes."""
    rounds, rate, of_case = request.rounds, 0.0, ""
    for row in (row for row in ("T1", "T2", "T3") if row in request.rows):
        cases, notes = make_cases(row, bench)
        rows: list[Row] = []
        for rows in measure_cases(cases, rates, rounds, request.steps):
            yield rows
        yield from notes
        if row == "T3":
            rate, of_case = cases[0].pairs / rows[0].value, cases[0].name
        del cases
        free_memory()
    others: dict[str, Sequence[Callable[[], Row]]] = {
        "T4": [lambda: measure_cache(bench, rounds)],
        "T5": [lambda: derive_epoch(rate, of_case)] if rate else [],
        "T6": [lambda name=name, case=case: measure_memory(bench, name, *case) for name, case in MEMORY_CASES.items()],
        "T7": [lambda: measure_loader(bench, rounds)],
        "T8": [lambda: measure_trainer(bench, request.dtype, max(4, request.steps), rounds)],
    }
    for row in (row for row in others if row in request.rows):
        for measure in others[row]:
            yield [measure()]
            free_memory()


def run(request: TrainingRequest, output: Path | None = None) -> str:
    """Measure what is asked for, and write training.json and training.md into `output`; the tables."""
    rates = measure_rates(request.device, DTYPES[request.dtype])
    facts = {"machine": machine_facts(request.device), "size": request.size, "dtype": request.dtype}
    facts |= {"matmul_gflops": rates[0] / 1e9, "copy_gb_per_s": rates[1] / 1e9}
    found: dict[tuple[str, str], Row] = {}
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in measure_rows(request, request.bench(Path(folder)), rates):
            if isinstance(rows, str):
                notes.append(rows)
            else:
                found |= {(row.row, row.what): row for row in rows}
            cases, lines = ([row for row in found.values() if bool(row.counted) == of] for of in (True, False))
            table = format_rows(facts, cases, lines, notes)
            if output:
                write_json(
                    output / "training.json",
                    facts | {"rows": [*map(_as_json, cases)], "lines": [*map(asdict, lines)], "notes": notes},
                )
                write_text(output / "training.md", table + "\n")
    return table


def _as_json(row: Row) -> dict[str, Any]:
    rates = {"samples_per_second": row.counted["pairs"] / row.value, "times_floor": row.value / row.floor}
    times = {"seconds": row.value, "spread": row.spread, "floor_seconds": row.floor}
    return {"case": f"{row.row} {row.what}", **times, **rates, **row.counted}


def format_rows(facts: dict, cases: Sequence[Row], lines: Sequence[Row], notes: Sequence[str]) -> str:
    """The tables as markdown."""
    machine = facts["machine"]
    text = [
        "# Speed of training",
        "",
        f"{machine['device']}, {machine['threads']} thread(s), load {machine['load']}, torch {machine['torch']}, "
        f"commit {machine['commit']}; size {facts['size']}, {facts['dtype']}; matrix product "
        f"{facts['matmul_gflops']:.1f} GFLOP/s, copy {facts['copy_gb_per_s']:.1f} GB/s",
        "",
        f"`{machine['command']}`",
        "",
        f"| case | s / step | spread | samples/s | floor s | x floor | {' | '.join(PARTS)} | calls |",
        "|---|" + "---:|" * (5 + len(PARTS)) + "---|",
    ]
    for row in cases:
        counted = row.counted
        parts = [f"{counted['parts'][name]:.4f}" if name in counted["parts"] else "-" for name in PARTS]
        numbers = [f"{row.value:.4f}", f"{row.spread:.4f}", f"{counted['pairs'] / row.value:.1f}"]
        numbers += [f"{row.floor:.4f}", f"{row.value / row.floor:.1f}", *parts]
        calls = ", ".join(f"{name} {count}" for name, count in counted["calls"].items())
        text.append(f"| {row.row} {row.what} | {' | '.join(numbers)} | {calls} |")
    text += ["", "| row | what | value | spread | compared with | times | |", "|---|---|---:|---:|---|---:|---|"]
    text += [f"| {' | '.join([*cells_of(row), row.note])} |" for row in lines]
    return "\n".join([*text, "", *notes])


def cells_of(row: Row) -> list[str]:
    """Row, what, value, spread, what it is compared with, and how many times that it is."""

    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:,.4g} {unit}".strip()

    peer = f"{row.peer_name} {number(row.peer, row.unit)}" if row.peer else "-"
    times = number(row.value / row.peer) if row.peer and row.value else "-"
    return [row.row, row.what, number(row.value, row.unit), number(row.spread), peer, times]


def make_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def defaults(place: int) -> str:
        return ", ".join(f"{numbers[place]} on {device}" for device, numbers in DEFAULTS.items())

    add = parser.add_argument
    add("--size", choices=("tiny", "full"), help="default: full on a GPU, tiny on a CPU")
    add("--dtype", choices=DTYPES, default="fp32", help="of the forward pass, by autocast as in main.py")
    add("--rows", nargs="+", choices=ROWS, default=ROWS, help="default: all")
    add("--rounds", type=int, help=f"of all cases in turns; default: {defaults(0)}")
    add("--steps", type=int, help=f"of a case in a round; default: {defaults(1)}")
    add("--output", type=Path, help="folder for training.json and training.md")
    return parser


def main(argv: Sequence[str]) -> None:
    """Measure and print what is asked for."""
    opt = make_parser().parse_args(argv)
    device = own_device()
    size = opt.size or ("full" if device.type == "cuda" else "tiny")
    request = TrainingRequest(device, size, opt.dtype, opt.rows, opt.rounds, opt.steps)
    sys.stdout.write(run(request, opt.output) + "\n")
