"""The web page's work without its widgets: reads a request, predicts, returns what is to be shown.

Every refusal is a UserError of one sentence; a closed iterator stops its work. A picture is opened only if it lies in
the folder of uploads, and its file is checked as untrusted.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
from prediction.drawings import draw_difference, draw_panels, rows_of_views
from prediction.load import LoadedPredictor
from prediction.predictor import SEED_RANGE, SamplingOptions, rollout_seed
from prediction.request_queue import PredictionQueue, Ticket

MAX_HORIZONS = 8  # rollout steps of one request
SCRUB_SECONDS = 0.2  # between the moments of a future that is drawn at any time
STRIP_FRAMES = 6  # of such a future, in the strip
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

    def moments(self, pair_id: str | None, times: Sequence[float]) -> list[Path | None]:
        """Real frames so many seconds after an example's, None where the data have none."""
        pair = self.pairs.get(pair_id or "")
        if pair is None or pair.episode is None or pair.source_index is None or not pair.frames_per_second:
            return [None] * len(times)
        at = (pair.source_index + round(time * pair.frames_per_second) for time in times)
        return [self._futures.get((pair.task, pair.episode, index)) for index in at]


@dataclass(frozen=True)
class DrawnFuture:
    """Frames of a future, drawn once, so that a slider shows each at once."""

    source: np.ndarray  # uint8 (S, S, 3)
    frames: tuple[np.ndarray, ...]
    times: tuple[float, ...]  # rising, in `unit`
    unit: str  # seconds, frames or horizons
    truths: tuple[Path | None, ...]  # real frames, where they are known
    views: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)  # other cameras' frames

    def at(self, time: float) -> dict[str, np.ndarray | None]:
        """Prediction, difference and truth at the drawn time nearest to `time`."""
        k = min(range(len(self.times)), key=lambda i: abs(self.times[i] - time))
        truth = self._truth(k)
        return {
            "prediction": _enlarged(self.frames[k]),
            "difference": _enlarged(draw_difference(self.source, self.frames[k])),
            "truth": None if truth is None else _enlarged(truth),
        }

    def strip(self) -> Image.Image:
        """Some of the frames, spread evenly, over other cameras' and over the truth, where there are any."""
        last = len(self.times) - 1
        most = min(STRIP_FRAMES, last) if self.unit == "seconds" else last
        chosen = [round(i * last / most) for i in range(most + 1)] if most else [0]
        names = [f"+{self.times[k]:.3g} {'s' if self.unit == 'seconds' else self.unit}" for k in chosen]
        rows, labels = [[self.source, *(self.frames[k] for k in chosen)]], [["input", *names]]
        blank = np.full_like(self.source, 255)
        views = {camera: [blank, *(drawn[k] for k in chosen)] for camera, drawn in self.views.items()}
        of_views, names_of_views = rows_of_views(views, len(self.source))
        rows, labels = [*rows, *of_views], [*labels, *names_of_views]
        while chosen and self.truths[chosen[-1]] is None:
            chosen.pop()
        if chosen:
            known = [self._truth(k) for k in chosen]
            rows.append([self.source, *(blank if truth is None else truth for truth in known)])
            told = zip(names, known, strict=False)
            labels.append(["input", *(f"truth {name}" if truth is not None else "" for name, truth in told)])
        return draw_panels(rows, labels)

    def _truth(self, k: int) -> np.ndarray | None:
        path = self.truths[k]
        return None if path is None else open_picture(path).squared(len(self.source))


@dataclass(frozen=True)
class PageRequest:
    """What one user asks, as the page sends it."""

    picture: str | None  # path of the upload
    sentence: str | None
    horizon: float | None  # seconds or frames ahead, as the model counts; else times its own horizon
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


@dataclass(frozen=True)
class _Asked:
    """A request, read and checked."""

    source: np.ndarray  # uint8 (S, S, 3)
    sentence: str
    seed: int
    options: SamplingOptions
    example: str | None


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
        """What is to be shown, again and again while the work goes on: status, future, strip, and the future's `at`.

        Closing the iterator stops the work.

        Raises:
            UserError: for whatever the user can mend.
        """
        options, seed, num = self._read(request)
        source, notes = self._open_upload(request.picture, self.loaded.predictor.resolution)
        sentence = self.loaded.sentence(request.sentence)
        if sentence != request.sentence:
            notes = (*notes, f'sent as "{sentence}"')
        asked = _Asked(source, sentence, seed, options, request.example)
        if self.loaded.predictor.takes_seconds:
            yield from self._draw_directly(asked, self._moments(request.horizon), notes)
        else:
            yield from self._draw_in_a_row(asked, num, notes)

    def _draw_directly(self, asked: _Asked, times: list[float], notes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Frames at so many seconds, in common batches; shown when all are there."""
        frame, seconds = array_to_tensor(asked.source), []
        tickets = [self.queue.submit(frame, asked.sentence, asked.seed, asked.options, time) for time in times]
        try:
            for k, ticket in enumerate(tickets):
                yield from self._watch(ticket, seconds, f"frame {k + 1} of {len(times)}")
        finally:
            for ticket in tickets:
                ticket.cancel()
        drawn = tuple(tensor_to_array(ticket.result()) for ticket in tickets)
        truths = self.examples.moments(asked.example, times) if self.examples else [None] * len(times)
        views = {c: tuple(tensor_to_array(ticket.views[c]) for ticket in tickets) for c in tickets[0].views}
        future = DrawnFuture(asked.source, drawn, tuple(times), "seconds", tuple(truths), views)
        yield self._shown(future, times[-1], seconds, notes)

    def _draw_in_a_row(self, asked: _Asked, num: int, notes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Frames at multiples of the model's horizon, each predicted from the one before and shown as it comes."""
        truths = self.examples.truths(asked.example, num, self.loaded.horizon) if self.examples else []
        truths = [*truths, *([None] * (num - len(truths)))]
        unit, name = (self.loaded.horizon, "frames") if self.loaded.horizon else (1, "horizons")
        frame, drawn, seconds = array_to_tensor(asked.source), [], []
        for k in range(1, num + 1):
            ticket = self.queue.submit(frame, asked.sentence, rollout_seed(k - 1, asked.seed), asked.options)
            yield from self._watch(ticket, seconds, f"frame {k} of {num}")
            frame = ticket.result()
            drawn.append(tensor_to_array(frame))
            times = tuple(unit * i for i in range(1, k + 1))
            future = DrawnFuture(asked.source, tuple(drawn), times, name, tuple(truths[:k]))
            yield self._shown(future, unit, seconds, notes)

    def _shown(self, future: DrawnFuture, time: float, seconds: list[float], notes: Sequence[str]) -> dict[str, Any]:
        return future.at(time) | {"future": future, "strip": future.strip(), "status": _summary(seconds, notes)}

    def _moments(self, most: float) -> list[float]:
        """Times of the frames that are drawn, up to `most` seconds ahead."""
        least = self.loaded.predictor.seconds_range[0]
        count = max(1, round((most - least) / SCRUB_SECONDS) + 1)
        return [round(least + k * SCRUB_SECONDS, 6) for k in range(count)]

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
        steps, horizon, num = int(request.steps), int(request.horizon), 1
        if self.loaded.predictor.takes_seconds:
            self.loaded.predictor.times([request.horizon], 1)  # refuses what it was not trained for
        else:
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


def _enlarged(frame: np.ndarray) -> np.ndarray:
    """The frame with each pixel repeated until it is large enough to look at."""
    times = max(1, MIN_SHOWN // min(frame.shape[:2]))
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def _summary(seconds: list[float], notes: Sequence[str]) -> str:
    times = f"{sum(seconds) / len(seconds):.2f} s a frame, peak memory {peak_memory_mib()} MiB"
    return ". ".join([f"{len(seconds)} predicted, {times}", *notes]) + "."
