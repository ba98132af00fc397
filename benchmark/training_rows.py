"""Rows T4 to T8 of the training benchmark: the cache, an epoch, memory, the loader, and what Lightning adds.

Each returns one line: what was measured, the value with its unit, what it is compared with, and the ratio.
"""

import gc
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.training_data import Bench
from benchmark.training_steps import PAIRS, OurStep
from ldm.util import instantiate_from_config

EPOCH = 10_491  # pairs of light_future's second stage
LOADED = 64  # samples of a timed pass of the loaders
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # our flag: Lightning's
LORA = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "lora", "rank": 8}}
MEMORY_CASES: dict[str, tuple[int, dict[str, Any]]] = {  # name: pairs of a micro-batch, model parameters
    "micro-batch 16, AdamW": (16, {}),
    "micro-batch 4, AdamW of 8 bits": (4, {"optimizer_bits": 8}),
    "micro-batch 4, LoRA": (4, {"trainable_config": LORA}),
}


@dataclass(frozen=True)
class Line:
    """One measured value."""

    row: str
    what: str
    value: float | None  # None where this machine cannot measure it
    unit: str
    peer: float | None = None  # the same of what it is compared with
    peer_name: str = ""
    spread: float | None = None  # largest minus smallest value of the rounds
    note: str = ""


def per_second(act: Callable[[], object], count: int, device: torch.device, rounds: int) -> list[float]:
    """How many of `count` things a second an action does, in each round after one warm-up."""
    act()
    rates = []
    for _ in range(rounds):
        wait_for(device)
        begun = time.perf_counter()
        act()
        wait_for(device)
        rates.append(count / (time.perf_counter() - begun))
    return rates


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_memory() -> None:
    """Give back what the last row held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure_cache(bench: Bench, rounds: int) -> Line:
    """T4: decoding JPEG pictures and encoding them to the cache, both frames of a pair."""
    model = OurStep(bench, PAIRS, False, None).model

    def build() -> None:
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            bench.build_cache(model, Path(folder))

    rates = per_second(build, 2 * bench.num_pairs, bench.device, rounds)
    what = f"build the cache, {bench.size['resolution']} px, JPEG decoding included"
    return Line("T4", what, statistics.median(rates), "pictures/s", spread=max(rates) - min(rates))


def derive_epoch(samples_per_second: float, case: str) -> Line:
    """T5: an epoch at the rate of a measured case."""
    what = f"an epoch of {EPOCH:,} pairs at the rate of '{case}'"
    return Line("T5", what, EPOCH / samples_per_second, "s", note="computed, not run")


def measure_memory(bench: Bench) -> list[Line]:
    """T6: bytes of weights, gradients and moments after a step; on a GPU the peak of the step too."""
    return [_measure_memory(bench, name, micro, model) for name, (micro, model) in MEMORY_CASES.items()]


def _measure_memory(bench: Bench, name: str, micro: int, model: dict[str, Any]) -> Line:
    free_memory()
    try:
        made = OurStep(bench, micro, True, None, pairs=micro, **model)
    except ValueError as error:  # bitsandbytes is not installed
        return Line("T6", name, None, "GiB", note=str(error).splitlines()[0])
    if bench.device.type == "cuda":  # of the step: making the cache needs more
        torch.cuda.reset_peak_memory_stats(bench.device)
    made.learn(made.encode(made.data()))
    made.scaler.step(made.optimizer)
    state = [value for entry in made.optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    gradients = [p.grad for p in made.model.parameters() if p.grad is not None]
    held = sum(t.nbytes for t in [*made.model.model.parameters(), *gradients, *state]) / 2**30
    kept = f"U-Net, gradients and moments {held:.3f} GiB"
    if bench.device.type != "cuda":
        return Line("T6", name, held, "GiB", note="counted: U-Net, gradients, moments; no activations")
    return Line("T6", name, torch.cuda.max_memory_allocated(bench.device) / 2**30, "GiB", note=kept)


def measure_loader(bench: Bench, rounds: int) -> Line:
    """T7: the cached loader alone, without workers, against reading the pictures with PIL."""
    made = OurStep(bench, PAIRS, True, None)
    pictures = instantiate_from_config(bench.node, "data")
    host = Bench(bench.size, torch.device("cpu"), bench.folder, num_pairs=bench.num_pairs)
    batches = [[i % bench.num_pairs for i in range(start, start + PAIRS)] for start in range(0, LOADED, PAIRS)]
    cached, read = (
        per_second(lambda data=data: [host.read(data, rows) for rows in batches], LOADED, host.device, rounds)
        for data in (made.dataset, pictures)
    )
    return Line(
        "T7",
        "the cached loader alone, one process",
        statistics.median(cached),
        "samples/s",
        statistics.median(read),
        "pictures by PIL",
        max(cached) - min(cached),
    )


def measure_trainer(bench: Bench, dtype: str, steps: int, rounds: int) -> Line:
    """T8: seconds of a step under Lightning's Trainer and in a bare loop, T2's shape, taken in turns."""
    made = OurStep(bench, PAIRS, True, None)
    bare, trained = [], []
    made.step()
    for _ in range(rounds):
        wait_for(bench.device)
        begun = time.perf_counter()
        for _ in range(steps):
            made.step()
        wait_for(bench.device)
        bare.append((time.perf_counter() - begun) / steps)
        trained.append(_step_of_trainer(bench, made, PRECISIONS[dtype], steps))
    value, peer = statistics.median(trained), statistics.median(bare)
    note = f"the Trainer adds {100 * (value / peer - 1):.1f} %"
    return Line(
        "T8", "Lightning's Trainer, T2's shape", value, "s/step", peer, "bare loop", max(trained) - min(trained), note
    )


def _step_of_trainer(bench: Bench, made: OurStep, precision: str, steps: int) -> float:
    """Seconds of a step, from the end of the first one to the end of the last: no setting up, no clearing away."""
    import pytorch_lightning as pl

    class Clock(pl.Callback):
        """When the first and the last step ended."""

        begun = ended = 0.0

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            if trainer.global_step in (1, steps + 1):
                wait_for(bench.device)
                self.begun, self.ended = self.begun or time.perf_counter(), time.perf_counter()

    node = bench.cached_node(made.model, frames=False)
    params = {"batch_size": PAIRS, "seed": 0, "num_workers": 0, "train": node}
    data = instantiate_from_config({"target": "ldm.data.base.DataModuleFromConfig", "params": params}, "data")
    data.setup()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    clock = Clock()
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
