"""What the web page does for one user, without any widget: reads a request, predicts, says what is to be shown.

Every refusal is a ValueError of one sentence; a closed iterator stops its work.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from commands.errors import UserError
from formats.pictures import open_picture
from formats.provenance import peak_memory_mib
from ldm.data.pixels import array_to_tensor, tensor_to_array
from prediction.examples import Examples
from prediction.load import LoadedPredictor
from prediction.predictor import SamplingOptions, rollout_seed
from prediction.request_queue import PredictionQueue, Ticket
from prediction.sheets import draw_difference, draw_panels

MAX_HORIZONS = 8  # rollout steps of one request
MAX_STEPS = 200  # network calls of one frame
MAX_SENTENCE = 10_000  # letters; encoders cut long before
MIN_SHOWN = 256  # pixels of a shown picture's side
POLL = 0.1  # seconds between looks at a request in work


@dataclass(frozen=True)
class Request:
    """What one user asks, as the page sends it."""

    picture: str | None  # path of the upload
    sentence: str | None
    horizon: float  # frames ahead; times the model's own horizon where its config does not say how far that is
    steps: float
    sampler: str
    text_scale: float
    image_scale: float
    seed: float | None
    example: str | None  # pair id that the picture is of, for its truth


class PredictionService:
    """Answers requests with one model and one queue.

    Args:
        loaded: the model.
        queue: predicts.
        examples: frames to offer; None for none.
    """

    def __init__(self, loaded: LoadedPredictor, queue: PredictionQueue, examples: Examples | None) -> None:
        self.loaded = loaded
        self.queue = queue
        self.examples = examples

    def predict(self, request: Request) -> Iterator[dict[str, Any]]:
        """What is to be shown, again and again while the work goes on: status, prediction, difference, truth, strip.

        Closing the iterator stops the work.

        Raises:
            ValueError: for whatever the user can mend.
        """
        if not request.picture:
            raise UserError("there is no picture; drop a frame or pick an example.")
        opened = open_picture(Path(request.picture), "the picture")
        options, seed, num = self._read(request)
        side = self.loaded.predictor.resolution
        source = opened.squared(side)
        frame, shown, labels, seconds = array_to_tensor(source), [source], ["input"], []
        truths = self.examples.truths(request.example, num, self.loaded.horizon) if self.examples else []
        truth = open_picture(truths[0]).squared(side) if truths else None
        for k in range(num):
            ticket = self.queue.submit(frame, request.sentence, rollout_seed(k, seed), options)
            yield from self._watch(ticket, seconds, f"frame {k + 1} of {num}")
            frame = ticket.result()
            shown.append(tensor_to_array(frame))
            labels.append(self._label(k + 1))
            yield {
                "prediction": _enlarged(shown[1]),
                "difference": _enlarged(draw_difference(source, shown[1])),
                "truth": None if truth is None else _enlarged(truth),
                "strip": _strip(shown, labels, truths, side),
                "status": _summary(seconds, opened.notes),
            }

    def _read(self, request: Request) -> tuple[SamplingOptions, int, int]:
        """Options, seed and number of predictions in a row, with the page's limits."""
        if not request.sentence or not request.sentence.strip():
            raise UserError("the instruction is empty; say what the robot does, such as 'stack blocks'.")
        if len(request.sentence) > MAX_SENTENCE:
            raise UserError(f"the instruction has {len(request.sentence)} letters; wanted at most {MAX_SENTENCE}.")
        if request.seed is None or request.steps is None or request.horizon is None:
            raise UserError("steps, horizon and seed want whole numbers.")
        steps, horizon = int(request.steps), int(request.horizon)
        num = self.loaded.predictor.count_predictions(horizon) if self.loaded.horizon else horizon
        if not 1 <= num <= MAX_HORIZONS:
            unit = self.loaded.horizon or 1
            raise UserError(f"horizon {horizon}: wanted {unit} to {MAX_HORIZONS * unit}.")
        if not 1 <= steps <= MAX_STEPS:
            raise UserError(f"{steps} steps: wanted 1 to {MAX_STEPS}; edit_cli.py takes up to 1000.")
        options = replace(
            self.loaded.predictor.options,
            steps=steps,
            sampler=request.sampler,
            eta=None,
            text_scale=float(request.text_scale),
            image_scale=float(request.image_scale),
        )
        return options, int(request.seed), num

    def _watch(self, ticket: Ticket, seconds: list[float], what: str) -> Iterator[dict[str, Any]]:
        """Status until a ticket is done; its time is appended. A closed iterator cancels the ticket."""
        begun, step = time.perf_counter(), -1
        try:
            while not ticket.wait(POLL):
                if ticket.step != step:
                    step = ticket.step
                    yield {"status": f"predicting {what}: step {step} of {ticket.options.steps}"}
        finally:
            ticket.cancel()
        seconds.append(time.perf_counter() - begun)

    def _label(self, k: int) -> str:
        return f"+{k * self.loaded.horizon} frames" if self.loaded.horizon else f"+{k} horizons"


def _strip(shown: list[np.ndarray], labels: list[str], truths: Sequence[Path], side: int) -> Image.Image:
    """Rollout over its truth, as far as it is known."""
    rows, names = [shown], [labels]
    known = truths[: len(shown) - 1]
    if known:
        rows.append([shown[0], *(open_picture(path).squared(side) for path in known)])
        names.append(["input", *(f"truth {label}" for label in labels[1 : len(known) + 1])])
    return draw_panels(rows, names)


def _enlarged(frame: np.ndarray) -> np.ndarray:
    """The frame with each pixel repeated until it is large enough to look at."""
    times = max(1, MIN_SHOWN // min(frame.shape[:2]))
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def _summary(seconds: list[float], notes: Sequence[str]) -> str:
    times = f"{sum(seconds) / len(seconds):.2f} s a frame, peak memory {peak_memory_mib()} MiB"
    return ". ".join([f"{len(seconds)} predicted, {times}", *notes]) + "."
