"""Speed of prediction against diffusers' InstructPix2Pix pipeline, with the same weights in both.

    python -m benchmark inference                           the small twin of every row, with counts of calls
    python -m benchmark inference --rows I1 I7 --rounds 1   some of them, quickly
    python -m benchmark inference --size full --dtype bf16 --compile --tuned        on a GPU: rows I1 to I9

I1  a frame, 100 steps      I4  10 steps      I7  one step, tiny autoencoder both ways
I2  frames in turn          I5  4 steps       I8  the decoder alone
I3  frames in a batch       I6  one step      I9  from nothing to the first frame on disk, one step

One process; weights are seeded noise, copied from our network into
diffusers' by name; parity comes before timing; the systems alternate (A B B A); medians and spread are reported, with
the floor that this machine's own matrix product and copy rates set. Rows with fewer steps are "speed only". Files are
written after each row, so an interrupted run keeps what it has measured.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.cold_start import seconds_of_ours, seconds_of_theirs, write_sides
from benchmark.measuring import Result, machine_facts, measure_rates, write_report
from benchmark.peers import PARITY_LIMITS, SHAPES, Row, Shape, Systems, make_systems, measure_parity
from commands.errors import UserError
from prediction.predictor import DTYPES, Runtime, SamplingOptions

WARM_CALLS = 10  # of the network, before timing, on a GPU
ROUNDS = {"cuda": 5, "cpu": 2}  # of A B B A
ROWS = ("I1", "I2", "I3", "I4", "I4s", "I5", "I6", "I6b", "I7", "I7b", "I8", "I9")


def make_rows(shape: Shape) -> list[Row]:
    """Rows I1 to I7; tiny shapes predict fewer frames."""
    num = shape.frames
    full = SamplingOptions(steps=100, text_scale=7.5, image_scale=1.5)
    ten = replace(full, steps=10, sampler="dpm_solver")
    four = SamplingOptions(steps=4, text_scale=1.0, image_scale=1.0)
    one = replace(four, steps=1)
    return [
        Row("I1", "1 frame, 100 steps DDIM, dual guidance", 1, True, full),
        Row("I2", f"{num} frames one after another, as I1", num, False, full),
        Row("I3", f"{num} frames batched, as I1", num, True, full),
        Row("I4", f"{num} frames batched, 10 steps DPM-Solver++, dual guidance", num, True, ten),
        Row("I4s", f"{num} frames one after another, as I4", num, False, ten),
        Row("I5", f"{num} frames batched, 4 steps, one branch", num, True, four),
        Row("I6", "1 frame, one step", 1, True, one),
        Row("I6b", f"{num} frames batched, one step", num, True, one),
        Row("I7", "1 frame, one step, tiny autoencoder", 1, True, one),
        Row("I7b", f"{num} frames batched, one step, tiny autoencoder", num, True, one),
    ]


def count_calls(systems: Systems, row: Row, frames: Tensor) -> dict[str, int]:
    """Network, encoder, decoder and text calls of one run of ours."""
    counts = {"network": 0, "encoder": 0, "decoder": 0, "text": 0}
    model = systems.predictor.model
    first = model.first_stage_model
    parts = {"network": model.model, "encoder": first.encoder, "decoder": first.decoder, "text": model.cond_stage_model}
    hooks = []
    for name, part in parts.items():

        def count(*_: Any, name: str = name) -> None:
            counts[name] += 1

        hooks.append(part.register_forward_hook(count))
    systems.ours(row, frames)
    for hook in hooks:
        hook.remove()
    return counts


def measure_flop(systems: Systems, row: Row, frames: Tensor) -> float:
    """Floating-point operations of one run of ours, counted in a single step and multiplied."""

    def count(steps: int) -> int:
        return count_flop(lambda: systems.ours(with_steps(row, steps), frames))

    one = count(1)
    return one if row.options.steps == 1 else one + (row.options.steps - 1) * (count(2) - one)


def count_flop(act: Callable[[], Any]) -> int:
    """Floating-point operations of an action."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops()


def with_steps(row: Row, steps: int) -> Row:
    """The row with another number of steps."""
    return replace(row, options=replace(row.options, steps=steps))


def time_alternating(
    first: Callable[[], Any],
    second: Callable[[], Any],
    rounds: int,
    device: torch.device,
    warm_up: Sequence[Callable[[], Any]] | None = None,
) -> tuple[list[float], list[float]]:
    """Seconds of both, A B B A in every round, after a warm-up: both once, where nothing else is named."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for act in (first, second) if warm_up is None else warm_up:
        act()
    for _ in range(rounds):
        for which in (0, 1, 1, 0):
            _wait(device)
            begun = time.perf_counter()
            (first, second)[which]()
            _wait(device)
            seconds[which].append(time.perf_counter() - begun)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(seconds: tuple[list[float], list[float]]) -> dict[str, float]:
    ours, theirs = seconds
    return {
        "ours": statistics.median(ours),
        "ours_spread": max(ours) - min(ours),
        "theirs": statistics.median(theirs),
        "theirs_spread": max(theirs) - min(theirs),
    }


def _peak_mib(act: Callable[[], Any], device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    act()
    return torch.cuda.max_memory_allocated(device) / 2**20


def measure_row(systems: Systems, row: Row, rounds: int, rates: tuple[float, float], device: torch.device) -> Result:
    """One of the lines I1 to I7."""
    shape = (row.frames, 3, systems.predictor.resolution, systems.predictor.resolution)
    frames = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).to(device)
    systems.ours(with_steps(row, 1), frames[:1])  # the sentence is embedded
    calls = count_calls(systems, row, frames)
    flop = measure_flop(systems, row, frames)
    # A hundred steps warm up no better than ten: the calls are alike.
    short = with_steps(row, min(row.options.steps, WARM_CALLS))
    times = math.ceil(WARM_CALLS / short.options.steps) if device.type == "cuda" else 1
    warm_up = [lambda: systems.ours(short, frames), lambda: systems.theirs(short, frames)] * times
    seconds = time_alternating(
        lambda: systems.ours(row, frames), lambda: systems.theirs(row, frames), rounds, device, warm_up
    )
    network = systems.predictor.model.model
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return Result(
        row=row.name,
        what=row.what,
        peer="tuned" if systems.tuned else "as documented",
        **_summary(seconds),
        floor=max(flop / rates[0], calls["network"] * weights / rates[1]),
        flop=flop,
        memory_mib=_peak_mib(lambda: systems.ours(row, frames), device),
        **{f"{name}_calls": count for name, count in calls.items()},
    )


@torch.inference_mode()
def measure_decoder(
    systems: Systems, num: int, rounds: int, rates: tuple[float, float], device: torch.device
) -> Result:
    """I8: the first stage's decoder alone, on both sides."""
    model, vae, side = systems.predictor.model, systems.peer.vae, systems.predictor.resolution
    shape = (num, *model.latent_shape(torch.empty(3, side, side)))
    z = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device, vae.dtype)

    def ours() -> Tensor:
        return model.first_stage_model.decode(z)

    def theirs() -> Tensor:
        return vae.decode(z).sample

    worst, size = (ours() - theirs()).abs().max(), theirs().abs().max()
    if not worst <= PARITY_LIMITS[systems.precision] * size:
        raise UserError(f"parity fails: decoded frames differ by {float(worst / size):.1e} of their size.")
    flop = count_flop(ours)
    times = WARM_CALLS if device.type == "cuda" else 1
    seconds = time_alternating(ours, theirs, rounds, device, [ours, theirs] * times)
    weights = sum(p.numel() * p.element_size() for p in model.first_stage_model.decoder.parameters())
    return Result(
        row="I8",
        what=f"decode {num} x {side} px",
        peer="as documented",
        **_summary(seconds),
        floor=max(flop / rates[0], weights / rates[1]),
        flop=flop,
        memory_mib=_peak_mib(ours, device),
        network_calls=0,
        encoder_calls=0,
        decoder_calls=1,
        text_calls=0,
    )


def measure_cold_start(shape: Shape, runtime: Runtime) -> Iterator[Result]:
    """I9: processes from start to end, A B B A once; with torch.compile, a first and a second process of ours too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sides(shape, folder)

        def cold(where: Path | None = None) -> float:
            return seconds_of_ours(folder, runtime.precision, where)

        theirs = []
        eager = [cold()]
        theirs += [seconds_of_theirs(folder, runtime.precision) for _ in range(2)]
        eager.append(cold())
        yield _cold_result("I9", "cold start to the first frame, eager", eager, theirs)
        if runtime.compile:
            cache = folder / "compiled"
            for what in ("cold", "warm"):
                yield _cold_result("I9c", f"cold start, torch.compile, its cache {what}", [cold(cache)], theirs)


def _cold_result(row: str, what: str, ours: list[float], theirs: list[float]) -> Result:
    calls = dict.fromkeys(("network_calls", "encoder_calls", "decoder_calls", "text_calls"))  # other processes' calls
    return Result(
        row=row,
        what=what,
        peer="as documented",
        **_summary((ours, theirs)),
        floor=0.0,
        flop=0,
        memory_mib=None,
        **calls,
    )


def make_parser() -> argparse.ArgumentParser:
    """Flags."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark inference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=tuple(SHAPES), default="tiny", help="full is InstructPix2Pix's own")
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="fp32")
    said = ", ".join(f"{number} on {device}" for device, number in ROUNDS.items())
    parser.add_argument("--rounds", type=int, help=f"of A B B A; default: {said}")
    parser.add_argument("--rows", nargs="+", help="such as I1 I4; default: all")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile and CUDA graphs")
    parser.add_argument("--tuned", action="store_true", help="compare with diffusers compiled and channels last")
    parser.add_argument("--output", type=Path, default=Path("metrics/results"))
    return parser


class ParityError(Exception):
    """The sides do not compute the same."""


def checked_systems(
    shape: Shape, runtime: Runtime, device: torch.device, *, tuned: bool, tiny_coder: bool
) -> tuple[Systems, float]:
    """Both sides and their difference after ten guided steps.

    Raises:
        ParityError: if it is too large for the precision.
    """
    systems = make_systems(shape, runtime, device, tuned=tuned, tiny_coder=tiny_coder)
    frames = torch.randint(256, (1, 3, shape.resolution, shape.resolution), dtype=torch.uint8).to(device)
    parity = measure_parity(systems, frames)
    if not parity <= PARITY_LIMITS[runtime.precision]:
        raise ParityError(f"parity fails: latents differ by {parity:.1e} of their size; no row is measured.")
    return systems, parity


def measure_all(
    opt: argparse.Namespace, runtime: Runtime, device: torch.device, rates: tuple[float, float]
) -> Iterator[tuple[Result, dict[str, float]]]:
    """Each wanted row with the parities known so far; one pair of systems is held at a time.

    Raises:
        ParityError: before a row of systems that differ.
    """
    shape, parities = SHAPES[opt.size], {}
    for tiny_coder, name in ((False, "parity"), (True, "parity_tiny_autoencoder")):
        rows = [row for row in make_rows(shape) if row.name in opt.rows and row.name.startswith("I7") == tiny_coder]
        decoder = "I8" in opt.rows and not tiny_coder
        if not rows and not decoder:
            continue
        systems, parities[name] = checked_systems(shape, runtime, device, tuned=opt.tuned, tiny_coder=tiny_coder)
        for row in rows:
            yield measure_row(systems, row, opt.rounds, rates, device), parities
        if decoder:
            yield measure_decoder(systems, shape.frames, opt.rounds, rates, device), parities
        del systems
    if "I9" in opt.rows:
        for result in measure_cold_start(shape, runtime):
            yield result, parities


def run(argv: Sequence[str]) -> int:
    """Measure and write benchmark_inference_<size>_<device>.{md,json}; 1 if parity fails."""
    opt = make_parser().parse_args(argv)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    opt.rounds = ROUNDS.get(device.type, 2) if opt.rounds is None else opt.rounds
    opt.rows = ROWS if opt.rows is None else opt.rows
    if not set(opt.rows) <= set(ROWS) or opt.rounds < 1:
        raise UserError(
            f"--rows {' '.join(opt.rows)}, --rounds {opt.rounds}: wanted some of {', '.join(ROWS)}, and at least one "
            "round."
        )
    runtime = Runtime(opt.dtype, channels_last=device.type == "cuda", compile=opt.compile)
    rates = measure_rates(device, DTYPES[opt.dtype])
    facts = machine_facts(device) | {"size": opt.size, "rounds": opt.rounds, **asdict(runtime)}
    facts |= {"matrix_tflops": rates[0] / 1e12, "copy_gb_per_s": rates[1] / 1e9}
    path = opt.output / (f"benchmark_inference_{opt.size}_{device.type}" + ("_tuned" if opt.tuned else ""))
    results: list[Result] = []
    text = ""
    try:
        for result, parities in measure_all(opt, runtime, device, rates):
            results = sorted([*results, result], key=lambda line: line.row)
            text = write_report(path, results, facts | parities)
    except ParityError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(text)
    return 0
