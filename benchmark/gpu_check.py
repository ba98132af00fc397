"""Everything that only a GPU shows, in one command: python -m benchmark gpu_check, or make gpu-check

    python -m benchmark gpu_check                                  on any CUDA machine: full size, at most ten minutes
    python -m benchmark gpu_check --size tiny --output /tmp/check  its rehearsal on a CPU

card       versions, rates            training   rows T1 to T8; T6 is the memory of each recipe at 256 px
tests      pytest -m gpu              processes  two, on one card if there is only one: gradients as in one process
parity     with diffusers             small      the bundled model's network from scratch, for three minutes
inference  rows I1 to I9, compiled

Weights are random and nothing is downloaded. Each row is written as it is measured, with card, versions and commit; the
same command goes on where the last one stopped. What fails is a row that says why, and is tried again.
"""

import csv
import json
import logging
import math
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.multiprocessing import start_processes
from torch.utils.benchmark import timer

from benchmark import inference, training
from benchmark.measuring import free_memory, machine_facts, measure_rates
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from benchmark.training_steps import GRADIENT, gradient_of_share, save_gradient
from benchmark.workload import SIZES
from commands.errors import UserError, sentence_for
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options
from dataset_tools.preparing.prepare import prepare
from dataset_tools.preparing.request import PrepareRequest
from dataset_tools.preparing.splits import SplitRule
from dataset_tools.readers.detect import ReadingRequest
from prediction.predictor import DTYPES

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SAME = ("device", "torch", "commit", "size")  # facts that rows of one table share
PATIENCE = 120  # seconds for two processes to make a step
GRADIENT_LIMIT = 1e-2  # of the largest value; TF32 and the order of sums differ
SPARE_SECONDS = 5  # for writing what was measured
NAMES = ("card", "tests", "parity", "processes", "small", "training", "inference")  # of the sections, in order
TIMED = (*inference.NAMES, *training.NAMES)
PRECISIONS = ("bf16", "fp16")  # of the parity with diffusers; timings take the first
ROUNDS, STEPS = 1, 3  # of the timed rows
SMALL_ENDS = {  # flags of main.py that end the small model's training
    "full": ("--max_time", "{minutes: 3}"),
    "tiny": ("--max_steps", "2", "--limit_val_batches", "0"),
}


@dataclass(frozen=True)
class CheckRequest(Request):
    """What is to be checked."""

    size: str = flag("full", "tiny is the rehearsal", SIZES)
    only: tuple[str, ...] = flag(NAMES, "sections; default: all", NAMES)
    rows: tuple[str, ...] = flag(TIMED, "of inference and training; default: all", TIMED)
    minutes: float = flag(10.0, "after which it stops; the same command goes on")
    output: Path = flag(Path("metrics/results/speed"), "folder of gpu_check.md and .json")


class OutOfTimeError(BaseException):
    """The minutes are over; no `except Exception` on the way may keep it."""


class Check:
    """A request, and the table of what is measured so far; rows of the same card, version, commit and size are kept."""

    def __init__(self, request: CheckRequest) -> None:
        self.request, self.device = request, request.device
        facts = machine_facts(self.device) | {"size": request.size}
        self.table = Table("What a GPU shows", facts, request.output / "gpu_check", same=SAME)

    def missing(self, section: str, names: Sequence[str]) -> list[str]:
        """Rows of a benchmark that are wanted and not measured; the last measured one may lack parts, so it counts."""
        measured = [row for of, row, _ in self.table.rows if of == section][:-1]
        return [name for name in names if name in self.request.rows and name not in measured]


def check_card(check: Check) -> Iterator[Row]:
    """The card's memory, and its rates in the precision that is timed."""
    if check.device.type == "cuda":
        properties = torch.cuda.get_device_properties(check.device)
        what = f"{properties.name}, CUDA {torch.version.cuda}, compute capability {properties.major}.{properties.minor}"
        yield Row("card", what, properties.total_memory / 2**30, "GiB")
    precision = PRECISIONS[0]
    product, copy = measure_rates(check.device, DTYPES[precision])
    yield Row("card", f"matrix product, {precision}", product / 1e12, "TFLOP/s")
    yield Row("card", "copy, read and written", copy / 1e9, "GB/s")


def check_tests(_: Check) -> Iterator[Row]:
    """Files with gpu-marked tests, one process for all; a failed test is a failed row."""
    files = [str(path) for path in sorted(ROOT.rglob("tests/**/test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1].strip("= ")
    if done.returncode:
        raise UserError(f"pytest -m gpu: {said}")
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped)", said)}
    yield Row("tests", "pytest -m gpu", counts.get("passed", 0), "passed", note=said)


def check_parity(check: Check) -> Iterator[Row]:
    """Final latents against diffusers' after ten guided steps, in each precision; both autoencoders."""
    for precision in PRECISIONS:
        for tiny_coder, what in ((False, "published autoencoder"), (True, "tiny autoencoder")):
            request = inference.InferenceRequest(check.request.size, precision)
            found = inference.checked_sides(request, tiny_coder=tiny_coder).parity
            free_memory()
            yield Row("parity", f"{what}, {precision}", found, "of the largest value")


def check_inference(check: Check) -> Iterator[Row]:
    """Rows I1 to I9."""
    names, size = tuple(check.missing("inference", inference.NAMES)), check.request.size
    request = inference.InferenceRequest(size, PRECISIONS[0], ROUNDS, names, compile=size == "full")
    rates = measure_rates(check.device, DTYPES[request.dtype])
    yield from (row for row in inference.measure_rows(request, rates) if row.row != inference.PARITY)


def check_training(check: Check) -> Iterator[Row]:
    """Rows T1 to T8; T5 is computed from T3, so T3 is measured with it."""
    names, size = check.missing("training", training.NAMES), check.request.size
    names = ["T3", *names] if "T5" in names and "T3" not in names else names
    steps = STEPS if size == "full" else 1
    request = training.TrainingRequest(size, PRECISIONS[0], tuple(names), ROUNDS, steps)
    yield from training.measure_rows(request, measure_rates(check.device, DTYPES[request.dtype]))


def check_processes(check: Check) -> Iterator[Row]:
    """The averaged gradient of two processes against that of one, on the same pairs."""
    with tempfile.TemporaryDirectory() as place:
        folder, pairs = Path(place), 4
        one, _ = gradient_of_share(0, 1, check.request.size, folder, pairs)
        free_memory()
        arguments = (2, check.request.size, folder, pairs)
        context = start_processes(save_gradient, arguments, nprocs=2, join=False, daemon=True, start_method="spawn")
        until = timer() + PATIENCE
        try:
            while not context.join(1.0):
                if timer() > until:
                    raise UserError(f"two processes did not end within {PATIENCE} s.")
        finally:
            for process in context.processes:
                process.kill()
        two, seconds = torch.load(folder / GRADIENT, weights_only=True)
    difference = float((one - two).abs().max() / one.abs().max())
    if not difference < GRADIENT_LIMIT:
        raise UserError(f"the gradients of two processes differ from one's by {difference:.1e} of the largest value.")
    cards = torch.cuda.device_count()
    where = f"on {min(2, cards)} card(s)" if cards else "on the CPU"
    what = f"two processes {where}, largest difference of a gradient"
    yield Row("processes", what, difference, "of the largest value", note=f"a step takes {seconds:.2f} s")


def check_small(check: Check) -> Iterator[Row]:
    """The bundled model's network through main.py, from scratch, on the bundled episodes."""
    import main as training_command

    with tempfile.TemporaryDirectory() as place:
        data, run = Path(place) / "prepared", Path(place) / "run"
        options = Options(PairingRule(horizons=(20,), stride=2), SplitRule(val=0.0, test=0.0), size=128)
        prepare(PrepareRequest(ReadingRequest((ROOT / "bundled_episodes",)), options, data))
        argv = ["--base", str(ROOT / "bundled_model" / "config.yaml"), "--folder", str(run), "--no-test"]
        argv += [*SMALL_ENDS[check.request.size], "--max_epochs", "100000", "--log_every_n_steps", "1"]
        argv += ["--accelerator", "gpu" if check.device.type == "cuda" else "cpu", "--devices", "1"]
        argv += [f"data.params.{of}.params.folder={data}" for of in ("train", "validation")]
        argv += ["data.params.validation.params.split=train", "lightning.checkpoint.monitor=null"]
        if code := training_command.main(argv):
            raise UserError(f"main.py ended with {code}; it says why above.")
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        with next(run.rglob("metrics.csv")).open(encoding="utf-8") as lines:
            losses = [float(line["train/loss"]) for line in csv.DictReader(lines) if line.get("train/loss")]
    part = facts["parts"][-1]
    steps, tail = part["last_step"], losses[-max(1, len(losses) // 20) :]
    yield Row("small", f"steps from scratch, in {part['seconds']:.0f} s with start and end", steps, "steps")
    note = "mean of the last twentieth, against the first step"
    yield Row("small", "training loss", math.fsum(tail) / len(tail), "", losses[0], "first step", note=note)


SECTIONS: Mapping[str, Callable[[Check], Iterator[Row]]] = {
    "card": check_card,
    "tests": check_tests,
    "parity": check_parity,
    "processes": check_processes,
    "small": check_small,
    "training": check_training,
    "inference": check_inference,
}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError when the seconds are over."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(check: Check) -> bool:
    """Go through the sections that are wanted and not complete; whether all are now."""
    table, sections = check.table, check.request.only
    try:
        with time_limit(60 * check.request.minutes - SPARE_SECONDS):
            for name in (name for name in sections if name not in table.done):
                log.info("%s ...", name)
                try:
                    for row in SECTIONS[name](check):
                        table.add(row, name)
                    table.done.append(name)
                except Exception as error:  # a row of its own, and the next section
                    log.exception("%s fails", name)
                    said = sentence_for(error) or f"{type(error).__name__}: {error}"
                    table.add(Row(name, "failed", None, note=" ".join(said.split())[:300]), name)
                free_memory()
    except OutOfTimeError:
        log.info("the time is over; the same command goes on")
    left = ", ".join(name for name in SECTIONS if name not in table.done)
    table.said = (f"Not complete: {left or 'nothing'}.",)
    table.write()
    return set(sections) <= set(table.done)


def main(argv: Sequence[str]) -> int:
    """Check, and print the table; 1 while something is not complete."""
    request = read_request(CheckRequest, argv, "gpu_check", __doc__)
    if request.size == "full" and request.device.type != "cuda":
        raise UserError("there is no CUDA GPU here; rehearse with --size tiny --output <folder>.")
    check = Check(request)
    complete = run(check)
    sys.stdout.write(check.table.text)
    return 0 if complete else 1
