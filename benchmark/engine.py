"""ONNX Runtime beside PyTorch, the bundled model, on the CPU: python -m benchmark engine

    python -m benchmark engine --output metrics/results/speed

Both predict the same frames first; they may differ by one grey level, of 255. Then they take turns. The networks are
written as ONNX before anything is timed.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmark.cold_start import prepare_prediction, time_process
from benchmark.measuring import machine_facts, summarise, time_in_turns
from benchmark.report import Row, Table
from benchmark.request import Request, flag, read_request
from commands.errors import UserError
from prediction.load import load_predictor
from prediction.model_request import ENGINES, ModelRequest
from prediction.predictor import FramePredictor

BATCHES = (1, 16)
SENTENCE = "beat the block with the hammer"


@dataclass(frozen=True)
class EngineRequest(Request):
    """What is to be measured."""

    rounds: int = flag(5, "of both engines in turns")
    output: Path | None = flag(None, "folder for engine.json and engine.md")


def check_agreement(predictors: Sequence[FramePredictor]) -> float:
    """Share of the values of frames predicted from noise in which the engines differ.

    Raises:
        UserError: if the predicted frames differ by more than one grey level.
    """
    frames = torch.randint(0, 256, (3, 3, 128, 128), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    ours, theirs = (one.predict(frames, [SENTENCE] * 3, range(3)).int() for one in predictors)
    apart = int((ours - theirs).abs().max())
    if apart > 1:
        raise UserError(f"the engines predict frames that are {apart} grey levels apart; wanted at most 1.")
    return float((ours != theirs).double().mean())


def measure_frames(predictors: Sequence[FramePredictor], batch: int, rounds: int) -> Row:
    """Seconds of a frame in batches of `batch`, loaded and warm."""
    frames = torch.zeros(batch, 3, 128, 128, dtype=torch.uint8)
    actions = [partial(one.predict, frames, [SENTENCE] * batch, range(batch)) for one in predictors]
    for action in actions:
        action()
    *_, seconds = time_in_turns(actions, rounds)
    theirs, ours = (summarise([value / batch for value in own]) for own in seconds)
    what = f"a frame, bundled model, batch {batch}"
    return Row("seconds", what, ours[0], "s", theirs[0], "PyTorch", ours[1], theirs[1])


def measure_start(rounds: int) -> Row:
    """CPU seconds of edit_cli.py on one picture, from the start of the process to its end."""
    with tempfile.TemporaryDirectory() as name:
        argv = prepare_prediction(Path(name))
        seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        for _ in range(rounds):
            for engine, own in seconds.items():
                own.append(time_process([*argv, "--engine", engine]).cpu_seconds)
    theirs, ours = (summarise(seconds[engine]) for engine in ENGINES)
    what = "edit_cli.py, one picture, bundled model"
    return Row("start-up", what, ours[0], "CPU s", theirs[0], "PyTorch", ours[1], theirs[1])


def main(argv: Sequence[str]) -> None:
    """Compare, measure, print and write engine.{md,json}."""
    request = read_request(EngineRequest, argv, "engine", __doc__)
    predictors = [load_predictor(ModelRequest(engine=engine)).predictor for engine in ENGINES]
    share = check_agreement(predictors)
    said = f"Medians of {request.rounds} rounds. {100 * share:.3g} % of the predicted values differ, by one grey level."
    path = request.output and request.output / "engine"
    table = Table("ONNX Runtime beside PyTorch", machine_facts(request.device), path, said)
    for batch in BATCHES:
        table.add(measure_frames(predictors, batch, request.rounds))
    table.add(measure_start(request.rounds))
    sys.stdout.write(table.text)
