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

import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.cold_start import seconds_of_ours, seconds_of_theirs, write_sides
from benchmark.measuring import (
    Action,
    bytes_of,
    count_calls,
    count_flop,
    eager,
    machine_facts,
    measure_rates,
    peak_mib,
    summarise,
    time_in_turns,
)
from benchmark.peers import DiffusersSide, OurSide, Side, Work, difference, make_sides, measure_parity
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from benchmark.workload import SIZES
from prediction.predictor import DTYPES, Runtime, SamplingOptions

FRAMES = {"tiny": 2, "full": 15}  # of the rows with several
WARM_CALLS = 10  # of the network, before timing, on a GPU
PARTS = ("network", "encoder", "decoder", "text")  # whose calls are counted
PARITY_LIMITS = {"fp32": 1e-3, "bf16": 0.5, "fp16": 0.1}  # of final latents; see `peers.difference`
PARITY = "parity"  # of the sides that the rows after it compare
DOCUMENTED, TUNED = "diffusers, as documented", "diffusers, tuned"
SAID = (
    "Same weights (seeded noise), noise, scheduler, steps, guidance and output on both sides; final latents agree as "
    "the rows of parity say. Rows with few steps are speed only."
)
NAMES = ("I1", "I2", "I3", "I4", "I4s", "I5", "I6", "I6b", "I7", "I7b", "I8", "I9")

HUNDRED = SamplingOptions(steps=100, text_scale=7.5, image_scale=1.5)
TEN = SamplingOptions(steps=10, sampler="dpm_solver", text_scale=7.5, image_scale=1.5)
FOUR = SamplingOptions(steps=4, text_scale=1.0, image_scale=1.0)
ONE = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)


class ParityError(Exception):
    """The sides do not compute the same."""


@dataclass(frozen=True)
class InferenceRequest(Request):
    """What is to be measured."""

    by_device = {"cuda": {"rounds": 5}, "cpu": {"rounds": 2}}

    size: str = flag("tiny", "full is InstructPix2Pix's own", SIZES)
    dtype: str = flag("fp32", "of both sides", DTYPES)
    rounds: int = flag(None, "of A B B A")
    rows: tuple[str, ...] = flag(NAMES, "default: all", NAMES)
    compile: bool = flag(False, "ours with torch.compile and CUDA graphs")
    tuned: bool = flag(False, "compare with diffusers compiled and channels last")
    output: Path = flag(Path("metrics/results/speed"), "folder for the table")

    @property
    def runtime(self) -> Runtime:
        """How our side runs."""
        return Runtime(self.dtype, channels_last=self.device.type == "cuda", compile=self.compile)


def make_works(num: int) -> list[Work]:
    """Rows I1 to I8; those of several frames have `num`."""
    return [
        Work("I1", "1 frame, 100 steps DDIM, dual guidance", 1, HUNDRED),
        Work("I2", f"{num} frames one after another, as I1", num, HUNDRED, batched=False),
        Work("I3", f"{num} frames batched, as I1", num, HUNDRED),
        Work("I4", f"{num} frames batched, 10 steps DPM-Solver++, dual guidance", num, TEN),
        Work("I4s", f"{num} frames one after another, as I4", num, TEN, batched=False),
        Work("I5", f"{num} frames batched, 4 steps, one branch", num, FOUR),
        Work("I6", "1 frame, one step", 1, ONE),
        Work("I6b", f"{num} frames batched, one step", num, ONE),
        Work("I7", "1 frame, one step, tiny autoencoder", 1, ONE, tiny_coder=True),
        Work("I7b", f"{num} frames batched, one step, tiny autoencoder", num, ONE, tiny_coder=True),
        Work("I8", f"decode {num}", num, None),
    ]


@dataclass(frozen=True)
class Sides:
    """Both sides, whose parity is known."""

    ours: OurSide
    theirs: DiffusersSide
    parity: float

    @property
    def resolution(self) -> int:
        """Side of a frame, in pixels."""
        return self.ours.predictor.resolution

    def make_input(self, work: Work) -> Tensor:
        """Random frames, or latents where these are only decoded."""
        side, chance = self.resolution, torch.Generator().manual_seed(1)
        if work.options is None:
            shape = self.ours.model.latent_shape(torch.empty(3, side, side))
            return torch.randn(work.frames, *shape, generator=chance).to(self.theirs.pipe.device, self.theirs.dtype)
        frames = torch.randint(256, (work.frames, 3, side, side), dtype=torch.uint8, generator=chance)
        return frames.to(self.theirs.pipe.device)


def checked_sides(request: InferenceRequest, *, tiny_coder: bool = False) -> Sides:
    """Both sides.

    Raises:
        ParityError: if they differ, after ten guided steps or in decoding, by more than the precision explains.
    """
    ours, theirs = make_sides(request.size, request.runtime, request.device, tuned=request.tuned, tiny_coder=tiny_coder)
    side, limit = ours.predictor.resolution, PARITY_LIMITS[request.dtype]
    frames = torch.randint(256, (1, 3, side, side), dtype=torch.uint8).to(request.device)
    parity = measure_parity(ours, theirs, frames)
    if not parity <= limit:
        raise ParityError(
            f"parity fails: latents differ by {parity:.1e} of their size, wanted {limit:.0e}; no row is measured."
        )
    return Sides(ours, theirs, parity)


def act(side: Side, work: Work, given: Tensor) -> Tensor:
    """What a side makes of its input."""
    return side.decode(given) if work.options is None else side.predict(work, given)


def calls_of(side: OurSide, work: Work, given: Tensor) -> dict[str, int]:
    """Network, encoder, decoder and text calls of one run of ours."""
    model, counts = side.model, Counter(dict.fromkeys(PARTS, 0))
    coder = model.first_stage_model
    networks = (model.model, coder.encoder, coder.decoder, model.cond_stage_model)
    hooks = count_calls(dict(zip(PARTS, networks, strict=True)), counts)
    with eager():
        act(side, work, given)
    for hook in hooks:
        hook.remove()
    return dict(counts)


def measure_flop(side: Side, work: Work, given: Tensor) -> float:
    """Floating-point operations of one run, counted in a single step and multiplied."""

    def count(steps: int) -> int:
        return count_flop(lambda: act(side, work.with_steps(steps), given))

    one = count(1)
    return one if work.steps == 1 else one + (work.steps - 1) * (count(2) - one)


def measure_work(sides: Sides, work: Work, request: InferenceRequest, rates: tuple[float, float]) -> Row:
    """One of the rows I1 to I8; its floor is products at the measured rate, or weights at the copy's."""
    given, model = sides.make_input(work), sides.ours.model
    act(sides.ours, work.with_steps(1), given[:1])  # the sentence is embedded
    if work.options is None:
        check_decoder(sides, work, given, request)
    calls, flop = calls_of(sides.ours, work, given), measure_flop(sides.ours, work, given)
    # A hundred steps warm up no better than ten: the calls are alike.
    short = work.with_steps(min(work.steps, WARM_CALLS))
    for _ in range(math.ceil(WARM_CALLS / short.steps) if request.device.type == "cuda" else 1):
        act(sides.ours, short, given)
        act(sides.theirs, short, given)
    both: list[Action] = [lambda: act(sides.ours, work, given), lambda: act(sides.theirs, work, given)]
    *_, seconds = time_in_turns(both, 2 * request.rounds)
    network = model.model if work.options else model.first_stage_model.decoder
    floor = max(flop / rates[0], (calls["network"] or 1) * bytes_of(network) / rates[1])
    what = work.what if work.options else f"{work.what} x {sides.resolution} px"
    counted = {f"{name} calls": num for name, num in calls.items()} | {"GFLOP": flop / 1e9}
    counted["peak MiB"] = peak_mib(both[0], request.device)
    peer = TUNED if request.tuned and work.options else DOCUMENTED
    return make_row(work.row, what, seconds, peer, floor, counted)


def check_decoder(sides: Sides, work: Work, z: Tensor, request: InferenceRequest) -> None:
    """Raise ParityError where decoded frames differ by more than the precision explains."""
    worst = difference(act(sides.ours, work, z), act(sides.theirs, work, z))
    if not worst <= PARITY_LIMITS[request.dtype]:
        raise ParityError(f"parity fails: decoded frames differ by {worst:.1e} of their size.")


def make_row(
    row: str,
    what: str,
    seconds: Sequence[Sequence[float]],
    peer_name: str = DOCUMENTED,
    floor: float | None = None,
    counted: Mapping[str, float | None] | None = None,
) -> Row:
    """A row of ours against diffusers."""
    (ours, spread), (theirs, peer_spread) = map(summarise, seconds)
    return Row(row, what, ours, "s", theirs, peer_name, spread, peer_spread, floor, counted=counted or {})


def measure_cold_start(size: str, runtime: Runtime) -> Iterator[Row]:
    """I9: processes from start to end, A B B A once; with torch.compile, a first and a second process of ours too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sides(size, folder)

        def cold(where: Path | None = None) -> float:
            return seconds_of_ours(folder, runtime.precision, where)

        ours = [cold()]
        theirs = [seconds_of_theirs(folder, runtime.precision) for _ in range(2)]
        ours.append(cold())
        yield make_row("I9", "cold start to the first frame, eager", [ours, theirs])
        for what in ("cold", "warm") if runtime.compile else ():
            said = f"cold start, torch.compile, its cache {what}"
            yield make_row("I9c", said, [[cold(folder / "compiled")], theirs])


def measure_rows(request: InferenceRequest, rates: tuple[float, float]) -> Iterator[Row]:
    """Each wanted row, after that of its sides' parity; one pair of sides is held at a time.

    Raises:
        ParityError: before a row of sides that differ.
    """
    wanted = [work for work in make_works(FRAMES[request.size]) if work.row in request.rows]
    for tiny_coder, name in ((False, "autoencoder"), (True, "tiny autoencoder")):
        if works := [work for work in wanted if work.tiny_coder == tiny_coder]:
            sides = checked_sides(request, tiny_coder=tiny_coder)
            yield Row(PARITY, f"final latents, {name}", sides.parity, "of the largest value")
            for work in works:
                yield measure_work(sides, work, request, rates)
            del sides
    if "I9" in request.rows:
        yield from measure_cold_start(request.size, request.runtime)


def run(request: InferenceRequest) -> str:
    """Measure, and write benchmark_inference_<size>_<device>.{md,json} after each row; the page."""
    rates = measure_rates(request.device, DTYPES[request.dtype])
    facts = machine_facts(request.device, rates) | {"size": request.size, "rounds": request.rounds}
    path = request.output / f"benchmark_inference_{request.size}_{request.device.type}{'_tuned' * request.tuned}"
    table = Table("Prediction speed against diffusers", facts | asdict(request.runtime), path, SAID)
    for row in measure_rows(request, rates):
        table.add(row)
    return table.text


def main(argv: Sequence[str]) -> int:
    """Measure and print what is asked for; 1 if the sides do not compute the same."""
    try:
        sys.stdout.write(run(read_request(InferenceRequest, argv, "inference", __doc__)))
    except ParityError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
