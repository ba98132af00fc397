"""Speed of training: python -m benchmark training

    python -m benchmark training                              the small twin of every row, on this machine's CPU
    python -m benchmark training --rows T2 T3 --rounds 1      some of them, once
    python -m benchmark training --dtype bf16 --output metrics/results/speed        on a GPU: full size, rows T1 to T8

T1  a step from cached latents, micro-batch 64              T5  an epoch of 10,491 pairs, at the rate of T3
T2  16 pairs a step: ours, the plain recipe, diffusers      T6  memory of a step: AdamW, 8 bits, LoRA
T3  T2 with LPIPS + L1: gated, exact, naive                 T7  the cached loader alone, against PIL
T4  building the cache                                      T8  what Lightning's Trainer adds to a bare loop

Prints, in one run on one device: seconds of an optimiser step, and of its parts (data, encode, U-Net, loss hooks,
optimiser); samples a second; the floor from a matrix product and a copy measured in the same run, and how many times
the floor each recipe takes; calls of each network; the peer where diffusers is installed. Recipes of a row take turns
(A B C C B A). Files are written after each round and row, so an interrupted run keeps what it has measured.
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.benchmark import timer

from benchmark.measuring import (
    count_flop,
    free_memory,
    machine_facts,
    measure_rates,
    median_rate,
    median_seconds,
    peak_mib,
    seconds_of,
    summarise,
    time_in_turns,
)
from benchmark.peers import DiffusersStep
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from benchmark.training_steps import OurStep, Recipe, tiny_decoder
from benchmark.workload import SIZES, Bench, read_size
from commands.errors import UserError
from ldm.data.base import DataModuleFromConfig
from ldm.util import instantiate_from_config
from prediction.predictor import DTYPES

ADAMW_BYTES = 28  # a parameter and step in fp32: read weight, gradient, two moments; write weight and two moments
EPOCH = 10_491  # pairs of light_future's second stage
LOADED = 64  # samples of a timed pass of the loaders
NAMES = tuple(f"T{number}" for number in range(1, 9))
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # our flag: Lightning's
LORA = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "lora", "rank": 8}}
TINY = tiny_decoder(scale_factor=0.18215)  # of full.yaml

PLAIN = {"micro_batch": 2, "cached": False}  # as afp, morpheus and diffusers' loop train
EXACT, GATED = {"mode": "exact"}, {"mode": "gated", "crop": 16}
GATED_TINY = {"mode": "gated", "tiny_decoder_config": TINY}
RECIPES = (
    Recipe("T1", "ours, cached, 64 x 1", 64, 64),
    Recipe("T2", "ours, cached, 16 x 1"),
    Recipe("T2", "plain recipe, online, 2 x 8", **PLAIN),
    Recipe("T2", "diffusers' loop, online, 2 x 8", **PLAIN, by_peer=True),
    Recipe("T3", "ours, cached, gated LPIPS + L1, tiny decoder, 16 x 1", loss=GATED_TINY),
    Recipe("T3", "ours, cached, gated LPIPS + L1, 16 x 1", loss=GATED),
    Recipe("T3", "ours, cached, exact LPIPS + L1, 16 x 1", loss=EXACT),
    Recipe("T3", "plain recipe, online, naive LPIPS + L1, 2 x 8", **PLAIN, loss=EXACT),
    Recipe("T4", "build the cache", cached=False),
    Recipe("T6", "micro-batch 16, AdamW"),
    Recipe("T6", "micro-batch 4, AdamW of 8 bits", 4, 4, model={"optimizer_bits": 8}),
    Recipe("T6", "micro-batch 4, LoRA", 4, 4, model={"trainable_config": LORA}),
    Recipe("T7", "the cached loader alone, one process"),
    Recipe("T8", "Lightning's Trainer, T2's shape"),
)

Step = OurStep | DiffusersStep


@dataclass(frozen=True)
class TrainingRequest(Request):
    """What is to be measured."""

    by_device = {
        "cuda": {"size": "full", "rounds": 5, "steps": 10},
        "cpu": {"size": "tiny", "rounds": 3, "steps": 1},
    }

    size: str = flag(None, "of the networks", SIZES)
    dtype: str = flag("fp32", "of the forward pass, by autocast as in main.py", DTYPES)
    rows: tuple[str, ...] = flag(NAMES, "default: all", NAMES)
    rounds: int = flag(None, "of all recipes of a row in turns")
    steps: int = flag(None, "of a recipe in a round")
    output: Path | None = flag(None, "folder for training.json and training.md")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype == "fp16" and self.device.type == "cpu":
            raise UserError("--dtype fp16: Lightning trains in bf16 on a CPU when asked for fp16; give --dtype bf16.")


@dataclass
class Run:
    """A request, the place where it is measured, and the rows so far."""

    request: TrainingRequest
    bench: Bench
    rates: tuple[float, float]  # of products and copies; see `measure_rates`
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)


def recipes_of(row: str) -> list[Recipe]:
    """Recipes of a row."""
    return [recipe for recipe in RECIPES if recipe.row == row]


def measure_steps(run: Run, row: str) -> Iterator[Row]:
    """T1, T2, T3: recipes in turns, their rows after each round; the last time with their parts.

    A floor is the products of a step at the measured rate and AdamW's traffic at the copy's.
    """
    steps: list[Step] = []
    for recipe in recipes_of(row):
        try:
            steps.append(DiffusersStep(run.bench, recipe) if recipe.by_peer else OurStep(run.bench, recipe))
        except ImportError as error:
            yield Row(row, recipe.what, None, "s/step", note=f"left out: {error}.")
    product, copy = run.rates
    floors = [count_flop(of.step) / product + ADAMW_BYTES * of.parameters / copy for of in steps]  # and a warm-up
    rows: list[Row] = []
    for seconds in time_in_turns([of.step for of in steps], run.request.rounds, run.request.steps):
        rows = [_row_of(*of) for of in zip(steps, seconds, floors, strict=True)]
        yield from rows
    for of, line in zip(steps, rows, strict=True):
        parts = {f"{name}, s": median_seconds(act, 2)[0] for name, act in of.parts().items()}
        yield replace(line, counted=line.counted | parts)


def _row_of(step: Step, seconds: Sequence[float], floor: float) -> Row:
    (median, spread), recipe = summarise(seconds), step.recipe
    counted = {"samples/s": recipe.pairs / median} | {f"{name} calls": num for name, num in step.calls.items()}
    note = f"{len(seconds)} rounds, {step.parameters:,} trained parameters"
    return Row(recipe.row, recipe.what, median, "s/step", spread=spread, floor=floor, note=note, counted=counted)


def measure_cache(run: Run, row: str) -> Iterator[Row]:
    """T4: pictures a second, decoded and encoded."""
    bench, (recipe,) = run.bench, recipes_of(row)
    model = OurStep(bench, recipe).model

    def build() -> None:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            bench.build_cache(model, Path(folder))

    rate, spread = median_rate(build, 2 * bench.num_pairs, run.request.rounds)
    what = f"{recipe.what}, {bench.resolution} px, JPEG decoding included"
    yield Row(row, what, rate, "pictures/s", spread=spread)


def derive_epoch(run: Run, row: str) -> Iterator[Row]:
    """T5: an epoch at the rate of T3's first recipe, where that is measured."""
    for line in [line for line in run.rows.values() if line.row == "T3"][:1]:
        what = f"an epoch of {EPOCH:,} pairs at the rate of 'T3 {line.what}'"
        yield Row(row, what, EPOCH / line.counted["samples/s"], note="computed, not run")


def measure_memory(run: Run, row: str) -> Iterator[Row]:
    """T6: bytes of weights, gradients and moments after a step; on a GPU the peak of the step too."""
    for recipe in recipes_of(row):
        free_memory()
        try:
            made = OurStep(run.bench, recipe)
        except UserError as error:  # bitsandbytes is not installed
            yield Row(row, recipe.what, None, "GiB", note=str(error).splitlines()[0])
            continue
        peak = peak_mib(made.advance, run.bench.device)  # of the step: making the cache needs more
        if peak is None:
            made.advance()
        state = [value for entry in made.optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
        gradients = [p.grad for p in made.model.parameters() if p.grad is not None]
        held = sum(t.nbytes for t in [*made.model.model.parameters(), *gradients, *state]) / 2**30
        if peak is None:
            yield Row(row, recipe.what, held, "GiB", note="counted: U-Net, gradients, moments; no activations")
        else:
            note = f"U-Net, gradients and moments {held:.3f} GiB"
            yield Row(row, recipe.what, peak / 2**10, "GiB", note=note)


def measure_loader(run: Run, row: str) -> Iterator[Row]:
    """T7: the cached loader alone, without workers, against reading the pictures with PIL."""
    bench, (recipe,) = run.bench, recipes_of(row)
    made, pictures = OurStep(bench, recipe), instantiate_from_config(bench.node, "data")
    host = Bench(bench.config, torch.device("cpu"), bench.folder, num_pairs=bench.num_pairs)
    starts = range(0, LOADED, recipe.pairs)
    batches = [[i % bench.num_pairs for i in range(start, start + recipe.pairs)] for start in starts]
    (cached, spread), (read, _) = (
        median_rate(lambda data=data: [host.read(data, rows) for rows in batches], LOADED, run.request.rounds)
        for data in (made.dataset, pictures)
    )
    yield Row(row, recipe.what, cached, "samples/s", read, "pictures by PIL", spread)


def measure_trainer(run: Run, row: str) -> Iterator[Row]:
    """T8: seconds of a step under Lightning's Trainer and in a bare loop, taken in turns."""
    (recipe,) = recipes_of(row)
    made, steps = OurStep(run.bench, recipe), max(4, run.request.steps)
    bare, trained = [], []
    made.step()
    for _ in range(run.request.rounds):
        bare.append(seconds_of(made.step, steps))
        trained.append(step_of_trainer(made, PRECISIONS[run.request.dtype], steps))
    (value, spread), (peer, _) = summarise(trained), summarise(bare)
    note = f"the Trainer adds {100 * (value / peer - 1):.1f} %"
    yield Row(row, recipe.what, value, "s/step", peer, "bare loop", spread, note=note)


class StepClock(pl.Callback):
    """When the first and the last step ended: no setting up, no clearing away."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.begun = self.ended = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Note the time."""
        if trainer.global_step in (1, self.last):
            self.ended = timer()
            self.begun = self.begun or self.ended


def step_of_trainer(made: OurStep, precision: str, steps: int) -> float:
    """Seconds of a step, from the end of the first one to the end of the last."""
    bench, clock = made.bench, StepClock(steps + 1)
    node = bench.cached_node(made.model, frames=False)
    data = DataModuleFromConfig(batch_size=made.recipe.pairs, seed=0, num_workers=0, train=node)
    data.setup()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    ends = {"max_steps": steps + 1, "max_epochs": -1}
    place = {"accelerator": "gpu" if bench.device.type == "cuda" else "cpu", "devices": 1}
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = pl.Trainer(precision=precision, callbacks=[clock], **place, **ends, **quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frozen parts and of missing validation
        trainer.fit(made.model, data)
    made.model.to(bench.device)  # Lightning gives it back on the CPU
    return (clock.ended - clock.begun) / steps


OTHERS: Mapping[str, Callable[[Run, str], Iterator[Row]]] = {
    "T4": measure_cache,
    "T5": derive_epoch,
    "T6": measure_memory,
    "T7": measure_loader,
    "T8": measure_trainer,
}


def measure_rows(request: TrainingRequest, rates: tuple[float, float]) -> Iterator[Row]:
    """All rows that are wanted, in order; those of a recipe again after each round."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(read_size(request.size), request.device, Path(folder), DTYPES[request.dtype])
        run = Run(request, bench, rates)
        for name in (name for name in NAMES if name in request.rows):
            for row in OTHERS.get(name, measure_steps)(run, name):
                run.rows[row.row, row.what] = row
                yield row
            free_memory()


def main(argv: Sequence[str]) -> None:
    """Measure and print what is asked for; with --output, training.json and training.md after each row."""
    request = read_request(TrainingRequest, argv, "training", __doc__)
    rates = measure_rates(request.device, DTYPES[request.dtype])
    facts = machine_facts(request.device, rates) | {"size": request.size, "dtype": request.dtype}
    table = Table("Speed of training", facts, request.output and request.output / "training")
    for row in measure_rows(request, rates):
        table.add(row)
    sys.stdout.write(table.text)
