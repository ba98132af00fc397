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
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.cold_start import seconds_of_ours, seconds_of_theirs, write_sides
from benchmark.measuring import (
    Action,
    Row,
    count_flop,
    eager,
    machine_facts,
    measure_rates,
    own_device,
    peak_mib,
    summarise,
    time_in_turns,
)
from benchmark.peers import PARITY_LIMITS, Systems, Work, count_calls, make_systems, measure_parity
from commands.errors import UserError
from formats.atomic import write_json, write_text
from prediction.predictor import DTYPES, Runtime, SamplingOptions

FRAMES = {"tiny": 2, "full": 15}  # of the rows with several
WARM_CALLS = 10  # of the network, before timing, on a GPU
ROUNDS = {"cuda": 5, "cpu": 2}  # of A B B A
ROWS = ("I1", "I2", "I3", "I4", "I4s", "I5", "I6", "I6b", "I7", "I7b", "I8", "I9")
PARTS = ("network", "encoder", "decoder", "text")  # whose calls are counted


class ParityError(Exception):
    """The sides do not compute the same."""


@dataclass(frozen=True)
class InferenceRequest:
    """What is to be measured.

    Args:
        size: of the networks: full or tiny.
        runtime: of our side.
        rows: some of ROWS.
        rounds: of A B B A; None takes the device's number.
        tuned: compare with diffusers compiled and channels last.

    Raises:
        UserError: if a row is unknown, or rounds are fewer than one.
    """

    device: torch.device
    size: str
    runtime: Runtime
    rows: Sequence[str] = ROWS
    rounds: int | None = None
    tuned: bool = False

    def __post_init__(self) -> None:
        if self.rounds is None:
            object.__setattr__(self, "rounds", ROUNDS.get(self.device.type, 2))
        if not set(self.rows) <= set(ROWS) or self.rounds < 1:
            raise UserError(
                f"--rows {' '.join(self.rows)}, --rounds {self.rounds}: wanted some of {', '.join(ROWS)}, and at "
                "least one round."
            )


def make_works(num: int) -> list[Work]:
    """Rows I1 to I7; those of several frames have `num`."""
    full = SamplingOptions(steps=100, text_scale=7.5, image_scale=1.5)
    ten = replace(full, steps=10, sampler="dpm_solver")
    four = SamplingOptions(steps=4, text_scale=1.0, image_scale=1.0)
    one = replace(four, steps=1)
    return [
        Work("I1", "1 frame, 100 steps DDIM, dual guidance", 1, True, full),
        Work("I2", f"{num} frames one after another, as I1", num, False, full),
        Work("I3", f"{num} frames batched, as I1", num, True, full),
        Work("I4", f"{num} frames batched, 10 steps DPM-Solver++, dual guidance", num, True, ten),
        Work("I4s", f"{num} frames one after another, as I4", num, False, ten),
        Work("I5", f"{num} frames batched, 4 steps, one branch", num, True, four),
        Work("I6", "1 frame, one step", 1, True, one),
        Work("I6b", f"{num} frames batched, one step", num, True, one),
        Work("I7", "1 frame, one step, tiny autoencoder", 1, True, one),
        Work("I7b", f"{num} frames batched, one step, tiny autoencoder", num, True, one),
    ]


def calls_of(systems: Systems, work: Work, frames: Tensor) -> dict[str, int]:
    """Network, encoder, decoder and text calls of one run of ours."""
    model, counts = systems.predictor.model, Counter(dict.fromkeys(PARTS, 0))
    coder = model.first_stage_model
    networks = (model.model, coder.encoder, coder.decoder, model.cond_stage_model)
    hooks = count_calls(dict(zip(PARTS, networks, strict=True)), counts)
    with eager():
        systems.ours(work, frames)
    for hook in hooks:
        hook.remove()
    return dict(counts)


def measure_flop(systems: Systems, work: Work, frames: Tensor) -> float:
    """Floating-point operations of one run of ours, counted in a single step and multiplied."""

    def count(steps: int) -> int:
        return count_flop(lambda: systems.ours(with_steps(work, steps), frames))

    one = count(1)
    return one if work.options.steps == 1 else one + (work.options.steps - 1) * (count(2) - one)


def with_steps(work: Work, steps: int) -> Work:
    """The work with another number of steps."""
    return replace(work, options=replace(work.options, steps=steps))


def time_both(ours: Action, theirs: Action, rounds: int, warm_up: Sequence[Action]) -> list[list[float]]:
    """Seconds of both, A B B A in every round, after a warm-up."""
    for act in warm_up:
        act()
    *_, seconds = time_in_turns([ours, theirs], 2 * rounds)
    return seconds


def make_row(
    row: str, what: str, seconds: Sequence[Sequence[float]], calls: dict[str, int | None], peer: str = "as documented"
) -> Row:
    """A row of ours against diffusers."""
    (ours, spread), (theirs, peer_spread) = map(summarise, seconds)
    counted = {"flop": 0, "memory_mib": None} | {f"{name}_calls": calls[name] for name in PARTS}
    return Row(row, what, ours, "s", theirs, peer, spread, peer_spread, counted=counted)


def _with_floor(row: Row, flop: float, memory: float | None, least: float) -> Row:
    return replace(row, floor=least, counted=row.counted | {"flop": flop, "memory_mib": memory})


def _bytes_of(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def measure_work(systems: Systems, work: Work, request: InferenceRequest, rates: tuple[float, float]) -> Row:
    """One of the rows I1 to I7."""
    shape = (work.frames, 3, systems.predictor.resolution, systems.predictor.resolution)
    frames = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    frames = frames.to(request.device)
    systems.ours(with_steps(work, 1), frames[:1])  # the sentence is embedded
    calls = calls_of(systems, work, frames)
    flop = measure_flop(systems, work, frames)
    # A hundred steps warm up no better than ten: the calls are alike.
    short = with_steps(work, min(work.options.steps, WARM_CALLS))
    times = math.ceil(WARM_CALLS / short.options.steps) if request.device.type == "cuda" else 1
    warm_up = [lambda: systems.ours(short, frames), lambda: systems.theirs(short, frames)] * times
    seconds = time_both(
        lambda: systems.ours(work, frames), lambda: systems.theirs(work, frames), request.rounds, warm_up
    )
    least = max(flop / rates[0], calls["network"] * _bytes_of(systems.predictor.model.model) / rates[1])
    row = make_row(work.row, work.what, seconds, calls, "tuned" if systems.tuned else "as documented")
    return _with_floor(row, flop, peak_mib(lambda: systems.ours(work, frames), request.device), least)


@torch.inference_mode()
def measure_decoder(systems: Systems, request: InferenceRequest, rates: tuple[float, float]) -> Row:
    """I8: the first stage's decoder alone, on both sides."""
    model, vae, side = systems.predictor.model, systems.peer.vae, systems.predictor.resolution
    num = FRAMES[request.size]
    shape = (num, *model.latent_shape(torch.empty(3, side, side)))
    z = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(request.device, vae.dtype)

    def ours() -> Tensor:
        return model.first_stage_model.decode(z)

    def theirs() -> Tensor:
        return vae.decode(z).sample

    worst, size = (ours() - theirs()).abs().max(), theirs().abs().max()
    if not worst <= PARITY_LIMITS[systems.precision] * size:
        raise ParityError(f"parity fails: decoded frames differ by {float(worst / size):.1e} of their size.")
    flop = count_flop(ours)
    times = WARM_CALLS if request.device.type == "cuda" else 1
    seconds = time_both(ours, theirs, request.rounds, [ours, theirs] * times)
    least = max(flop / rates[0], _bytes_of(model.first_stage_model.decoder) / rates[1])
    row = make_row("I8", f"decode {num} x {side} px", seconds, dict.fromkeys(PARTS, 0) | {"decoder": 1})
    return _with_floor(row, flop, peak_mib(ours, request.device), least)


def measure_cold_start(size: str, runtime: Runtime) -> Iterator[Row]:
    """I9: processes from start to end, A B B A once; with torch.compile, a first and a second process of ours too."""
    uncounted = dict.fromkeys(PARTS)  # other processes' calls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sides(size, folder)

        def cold(where: Path | None = None) -> float:
            return seconds_of_ours(folder, runtime.precision, where)

        eager = [cold()]
        theirs = [seconds_of_theirs(folder, runtime.precision) for _ in range(2)]
        eager.append(cold())
        yield make_row("I9", "cold start to the first frame, eager", [eager, theirs], uncounted)
        if runtime.compile:
            cache = folder / "compiled"
            for what in ("cold", "warm"):
                said = f"cold start, torch.compile, its cache {what}"
                yield make_row("I9c", said, [[cold(cache)], theirs], uncounted)


def checked_systems(request: InferenceRequest, *, tiny_coder: bool = False) -> tuple[Systems, float]:
    """Both sides and their difference after ten guided steps.

    Raises:
        ParityError: if it is too large for the precision.
    """
    systems = make_systems(request.size, request.runtime, request.device, tuned=request.tuned, tiny_coder=tiny_coder)
    side, limit = systems.predictor.resolution, PARITY_LIMITS[request.runtime.precision]
    frames = torch.randint(256, (1, 3, side, side), dtype=torch.uint8).to(request.device)
    parity = measure_parity(systems, frames)
    if not parity <= limit:
        raise ParityError(
            f"parity fails: latents differ by {parity:.1e} of their size, wanted {limit:.0e}; no row is measured."
        )
    return systems, parity


def measure_rows(request: InferenceRequest, rates: tuple[float, float]) -> Iterator[tuple[Row, dict[str, float]]]:
    """Each wanted row with the parities known so far; one pair of systems is held at a time.

    Raises:
        ParityError: before a row of systems that differ.
    """
    parities: dict[str, float] = {}
    for tiny_coder, name in ((False, "parity"), (True, "parity_tiny_autoencoder")):
        works = [work for work in make_works(FRAMES[request.size]) if work.row in request.rows]
        works = [work for work in works if work.row.startswith("I7") == tiny_coder]
        decoder = "I8" in request.rows and not tiny_coder
        if not works and not decoder:
            continue
        systems, parities[name] = checked_systems(request, tiny_coder=tiny_coder)
        for work in works:
            yield measure_work(systems, work, request, rates), parities
        if decoder:
            yield measure_decoder(systems, request, rates), parities
        del systems
    if "I9" in request.rows:
        for row in measure_cold_start(request.size, request.runtime):
            yield row, parities


def run(request: InferenceRequest, output: Path) -> str:
    """Measure, and write benchmark_inference_<size>_<device>.{md,json} after each row; the table."""
    rates = measure_rates(request.device, DTYPES[request.runtime.precision])
    facts = machine_facts(request.device) | {"size": request.size, "rounds": request.rounds, **asdict(request.runtime)}
    facts |= {"matrix_tflops": rates[0] / 1e12, "copy_gb_per_s": rates[1] / 1e9}
    path = output / f"benchmark_inference_{request.size}_{request.device.type}{'_tuned' * request.tuned}"
    rows: list[Row] = []
    text = ""
    for row, parities in measure_rows(request, rates):
        rows = sorted([*rows, row], key=lambda line: line.row)
        text = format_rows(rows, facts | parities)
        write_text(path.with_suffix(".md"), text)
        write_json(path.with_suffix(".json"), {"facts": facts | parities, "rows": [_as_json(row) for row in rows]})
    return text


def _as_json(row: Row) -> dict[str, Any]:
    seconds = {"ours": row.value, "ours_spread": row.spread, "theirs": row.peer, "theirs_spread": row.peer_spread}
    return {"row": row.row, "what": row.what, "peer": row.peer_name, **seconds, "floor": row.floor, **row.counted}


def format_rows(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Table with its facts as markdown; a ratio within the spread is marked."""
    parities = [value for name, value in facts.items() if name.startswith("parity")]
    agree = f"final latents agree to {max(parities):.1e} of their size. " if parities else ""
    lines = [
        "# Prediction speed against diffusers",
        "",
        "Same weights (seeded noise), noise, scheduler, steps, guidance and output on both sides; "
        f"{agree}Rows with few steps are speed only.",
        "",
        "| row | what | ours, s | diffusers, s | times faster | floor, s | x floor | calls of network, coders, text |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        sides = [f"{a:.4f} ± {b / 2:.4f}" for a, b in ((r.value, r.spread), (r.peer, r.peer_spread))]
        floors = [f"{r.floor:.5f}", f"{r.value / r.floor:.1f}"] if r.floor else ["-", "-"]
        network, encoder, decoder, text = (r.counted[f"{name}_calls"] for name in PARTS)
        calls = "-" if network is None else f"{network}, {encoder} + {decoder}, {text}"
        ratio = f"{r.ratio:.2f}{'' if r.is_clear else ' (within the spread)'}"
        lines.append(f"| {' | '.join([r.row, r.what, *sides, ratio, *floors, calls])} |")
    said = [f"{name} {value}" for name, value in facts.items() if not name.startswith(("parity", "command"))]
    lines += ["", f"Peer: diffusers {_say_peers(rows)}. " + "; ".join(said) + ".", "", f"`{facts['command']}`"]
    memory = {r.row: r.counted["memory_mib"] for r in rows}
    peaks = [f"{name} {mib:.0f} MiB" for name, mib in memory.items() if mib is not None]
    return "\n".join([*lines, *([f"Peak memory: {', '.join(peaks)}."] if peaks else [])]) + "\n"


def _say_peers(rows: Sequence[Row]) -> str:
    """How the peer was set up, with the rows where it was not the same in all."""
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.peer_name, []).append(row.row)
    if len(names) == 1:
        return rows[0].peer_name
    return ", ".join(f"{peer} ({' '.join(dict.fromkeys(of))})" for peer, of in names.items())


def make_parser() -> argparse.ArgumentParser:
    """Flags of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark inference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    said = ", ".join(f"{number} on {device}" for device, number in ROUNDS.items())
    add = parser.add_argument
    add("--size", choices=tuple(FRAMES), default="tiny", help="full is InstructPix2Pix's own")
    add("--dtype", choices=tuple(DTYPES), default="fp32")
    add("--rounds", type=int, help=f"of A B B A; default: {said}")
    add("--rows", nargs="+", default=ROWS, help="such as I1 I4; default: all")
    add("--compile", action="store_true", help="ours with torch.compile and CUDA graphs")
    add("--tuned", action="store_true", help="compare with diffusers compiled and channels last")
    add("--output", type=Path, default=Path("metrics/results"))
    return parser


def main(argv: Sequence[str]) -> int:
    """Measure and print what is asked for; 1 if the sides do not compute the same."""
    opt = make_parser().parse_args(argv)
    device = own_device()
    runtime = Runtime(opt.dtype, channels_last=device.type == "cuda", compile=opt.compile)
    request = InferenceRequest(device, opt.size, runtime, opt.rows, opt.rounds, opt.tuned)
    try:
        sys.stdout.write(run(request, opt.output))
    except ParityError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
