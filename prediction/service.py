"""The web page's work without its widgets: reads a request, predicts, returns what is to be shown.

Every refusal is a UserError of one sentence; a closed iterator stops its work. A picture is opened only if it lies in
the folder of uploads, and its file is checked as untrusted.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from commands.errors import UserError
from formats.atomic import read_file
from formats.pictures import open_picture
from formats.prepared_folder import FramePair, read_manifest
from formats.provenance import peak_memory_mib
from ldm.data.pixels import array_to_tensor, tensor_to_array
from prediction.drawings import draw_difference, draw_panels
from prediction.load import LoadedPredictor
from prediction.predictor import SEED_RANGE, SamplingOptions, rollout_seed
from prediction.request_queue import PredictionQueue, Ticket

MAX_HORIZONS = 8  # rollout steps of one request
MAX_STEPS = 200  # network calls of one frame
MAX_SENTENCE = 10_000  # letters; encoders cut long before
MIN_SHOWN = 256  # pixels of a shown picture's side
MAX_UPLOAD = 30 * 2**20  # bytes of an uploaded file
READ_SECONDS = 10.0  # that reading an upload may take
POLL = 0.1  # seconds between looks at a request in work


@dataclass(frozen=True)
class Examples:
    """Pairs of one split of a prepared folder, by id."""

    folder: Path
    pairs: dict[str, FramePair]
    _futures: dict[tuple[str | None, int, int], Path]  # (task, episode, frame number) => picture

    @staticmethod
    def read(folder: Path, split: str) -> "Examples":
        """Examples of a folder; see read_manifest for what it raises."""
        pairs = read_manifest(folder, None if split == "all" else split)
        known = [pair for pair in pairs if pair.episode is not None and pair.target_index is not None]
        futures = {(pair.task, pair.episode, pair.target_index): pair.target_path(folder) for pair in known}
        return Examples(folder, {pair.pair_id: pair for pair in pairs}, futures)

    def choose(self, num: int) -> list[str]:
        """Ids of `num` pairs, spread evenly."""
        names = list(self.pairs)
        return names if len(names) <= num else [names[i * len(names) // num] for i in range(num)]

    def instructions(self) -> list[str]:
        """Distinct sentences, in order of appearance."""
        return list(dict.fromkeys(pair.instruction for pair in self.pairs.values()))

    def source(self, pair_id: str) -> Path:
        """Picture of the current frame."""
        return self.pairs[pair_id].source_path(self.folder)

    def truths(self, pair_id: str | None, num: int, ahead: int | None) -> list[Path]:
        """Real frames at 1, 2, ... `num` times `ahead` frames, until the first that the data has not.

        Args:
            pair_id: of the example; None, or an id of no example, has no truths.
            num: of predictions in a row.
            ahead: frames that each prediction looks ahead; None, where that is not known, takes the pair's own.
        """
        pair = self.pairs.get(pair_id or "")
        if pair is None:
            return []
        if pair.horizon is None:
            return [pair.target_path(self.folder)]  # data that do not say how far ahead their futures are
        ahead = ahead or pair.horizon
        if pair.episode is None:
            return [pair.target_path(self.folder)] if ahead == pair.horizon else []
        at = ((pair.task, pair.episode, pair.source_index + k * ahead) for k in range(1, num + 1))
        return list(takewhile(bool, (self._futures.get(key) for key in at)))


@dataclass(frozen=True)
class PageRequest:
    """What one user asks, as the page sends it."""

    picture: str | None  # path of the upload
    sentence: str | None
    horizon: float | None  # frames ahead; times the model's own horizon where its config does not say how far that is
    steps: float | None
    sampler: str
    text_scale: float
    image_scale: float
    seed: float | None
    example: str | None  # pair id that the picture is of, for its truth

    def __post_init__(self) -> None:
        """Refuse values that no widget sends, since callers of the page's API can send any."""
        for name in ("picture", "sentence", "sampler", "example"):
            if not isinstance(getattr(self, name), str | None):
                raise UserError(f"{name}: wanted text, got {type(getattr(self, name)).__name__}.")
        for name in ("horizon", "steps", "text_scale", "image_scale", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not abs(value) < SEED_RANGE:  # not a number and infinity too
                raise UserError(f"{name} {value}: wanted a number.")
        if not self.picture:
            raise UserError("there is no picture; drop a frame or pick an example.")
        if not self.sentence or not self.sentence.strip():
            raise UserError("the instruction is empty; say what the robot does, such as 'stack blocks'.")
        if len(self.sentence) > MAX_SENTENCE:
            raise UserError(f"the instruction has {len(self.sentence)} letters; wanted at most {MAX_SENTENCE}.")


class PredictionService:
    """Answers requests with one model and one queue.

    Args:
        loaded: the model.
        queue: predicts.
        examples: frames to offer; None for none.
        uploads: folder of the pictures that visitors may predict from, this service's own.
    """

    def __init__(
        self, loaded: LoadedPredictor, queue: PredictionQueue, examples: Examples | None, uploads: Path
    ) -> None:
        self.loaded = loaded
        self.queue = queue
        self.examples = examples
        self.uploads = uploads.resolve()
        # One upload at a time, always in one thread: 100 megapixels take up to 1.5 GB while they are decoded, and the
        # allocator keeps a pool of freed memory for each thread that ever did.
        self._decoder = ThreadPoolExecutor(1, "uploads")

    def close(self) -> None:
        """Drop what waits, and delete the uploads."""
        self.queue.close()
        self._decoder.shutdown()
        shutil.rmtree(self.uploads, ignore_errors=True)

    def predict(self, request: PageRequest) -> Iterator[dict[str, Any]]:
        """What is to be shown, again and again while the work goes on: status, prediction, difference, truth, strip.

        Closing the iterator stops the work.

        Raises:
            UserError: for whatever the user can mend.
        """
        options, seed, num = self._read(request)
        side = self.loaded.predictor.resolution
        source, notes = self._open_upload(request.picture, side)
        frame, shown, labels, seconds = array_to_tensor(source), [source], ["input"], []
        truths = self.examples.truths(request.example, num, self.loaded.horizon) if self.examples else []
        truth = open_picture(truths[0]).squared(side) if truths else None
        sentence = self.loaded.sentence(request.sentence)
        if sentence != request.sentence:
            notes = (*notes, f'sent as "{sentence}"')
        for k in range(num):
            ticket = self.queue.submit(frame, sentence, rollout_seed(k, seed), options)
            yield from self._watch(ticket, seconds, f"frame {k + 1} of {num}")
            frame = ticket.result()
            shown.append(tensor_to_array(frame))
            labels.append(self._label(k + 1))
            yield {
                "prediction": _enlarged(shown[1]),
                "difference": _enlarged(draw_difference(source, shown[1])),
                "truth": None if truth is None else _enlarged(truth),
                "strip": _strip(shown, labels, truths, side),
                "status": _summary(seconds, notes),
            }

    def check_upload(self, name: str) -> Path:
        """The file that a request names, if it lies in the folder of uploads.

        Raises:
            UserError: if it lies anywhere else, by a link too.
        """
        try:
            path = Path(name).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL in the name, a loop of links
            path = Path("/")
        if not path.is_relative_to(self.uploads):
            raise UserError("this picture was not uploaded to this page; drop a frame or pick an example.")
        return path

    def _open_upload(self, name: str, side: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """An upload as uint8 (side, side, 3), and the notes for its owner; the whole picture is not kept."""

        def read() -> tuple[np.ndarray, tuple[str, ...]]:
            opened = open_picture(read_file(path, MAX_UPLOAD, seconds=READ_SECONDS), "the picture")
            return opened.squared(side), opened.notes

        path = self.check_upload(name)
        return self._decoder.submit(read).result()

    def _read(self, request: PageRequest) -> tuple[SamplingOptions, int, int]:
        """Options, seed and number of predictions in a row, with the page's limits."""
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
