"""Scores every row of the table on a pair."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from formats.prepared_folder import FramePair
from formats.tasks import colours_of
from metrics.comparison.pairs import Grouping, episode_of
from metrics.comparison.resizing import read_pixels, resize_picture
from metrics.comparison.rows import Kind
from metrics.measures.frame import measure_frames
from metrics.measures.networks import Meter
from metrics.measures.wrap_around import WRAPPED, looks_wrapped


@dataclass(frozen=True)
class Prediction:
    """A predicted frame, uint8 (H, W, 3), what is unusual about its file, and the file; None for a baseline's."""

    pixels: np.ndarray
    remarks: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def size_text(self) -> str:
        """Width and height, "256x256"."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"


class Candidate(ABC):
    """One row of the table: a system or a baseline."""

    name: str
    kind: Kind

    def prepare(self) -> None:  # noqa: B027 - most rows learn nothing
        """Read the training data, if the row needs any."""

    @abstractmethod
    def identity(self, pair: FramePair) -> str | None:
        """Text that changes whenever the prediction may; None where there is no prediction."""

    @abstractmethod
    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """The prediction; None where there is none. `source` is uint8 (H, W, 3)."""


@dataclass(frozen=True)
class PairScore:
    """Values of one row on one pair."""

    row: str
    pair_id: str
    group: str
    episode: tuple
    values: dict[str, float]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scorer:
    """Reads pairs and scores the candidates on them."""

    folder: Path
    candidates: tuple[Candidate, ...]
    grouping: Grouping
    pixel_keys: tuple[str, ...]
    meters: tuple[Meter, ...] = ()
    size: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """All measures of a pair."""
        return self.pixel_keys + tuple(key for meter in self.meters for key in meter.keys)

    def read_frames(self, pair: FramePair) -> tuple[np.ndarray, np.ndarray]:
        """Current and true future frame at the size of the comparison."""
        source, truth = (read_pixels(path, self.size) for path in pair.paths(self.folder))
        return source, truth

    def predict_frame(self, candidate: Candidate, pair: FramePair, source: np.ndarray) -> np.ndarray | None:
        """A candidate's prediction at the size of the comparison; None where there is none.

        Raises:
            UserError: if it is of another size and no size was set.
        """
        picture = candidate.predict_picture(pair, source)
        return None if picture is None else self._fit(picture, source)

    def score_pair(self, pair: FramePair, names: Sequence[str] | None = None) -> list[PairScore]:
        """Scores of the named candidates (None: all) that predict this pair.

        Raises:
            UserError: if a picture cannot be read or sizes differ.
        """
        source, truth = self.read_frames(pair)
        scores = []
        for candidate in self.candidates:
            if names is not None and candidate.name not in names:
                continue
            picture = candidate.predict_picture(pair, source)
            if picture is None:
                continue
            frame = self._fit(picture, source)
            values = measure_frames(source, frame, truth, self.pixel_keys, colours_of(pair.task))
            for meter in self.meters:
                values |= meter.measure(pair, frame, truth)
            remarks = picture.remarks + self._inspect(picture, truth)
            scores.append(self.make_score(candidate, pair, values, remarks))
        return scores

    def make_score(
        self, candidate: Candidate, pair: FramePair, values: dict, remarks: tuple[str, ...] = ()
    ) -> PairScore:
        """A score with its place in the table."""
        return PairScore(candidate.name, pair.pair_id, self.grouping(pair), episode_of(pair), values, remarks)

    def _fit(self, picture: Prediction, source: np.ndarray) -> np.ndarray:
        frame = picture.pixels if self.size is None else resize_picture(picture.pixels, self.size)
        if frame.shape != source.shape:
            raise UserError(
                f"{picture.path or 'a prediction'} is {picture.size_text}, the true frame "
                f"{source.shape[1]}x{source.shape[0]}: resize both with --size "
                f"{min(*frame.shape[:2], *source.shape[:2])}."
            )
        return frame

    def _inspect(self, picture: Prediction, truth: np.ndarray) -> tuple[str, ...]:
        """Faults of a picture that came from a file, at its own size."""
        if picture.path is None:
            return ()
        height, width = picture.pixels.shape[:2]
        return (WRAPPED,) if looks_wrapped(picture.pixels, resize_picture(truth, width, height)) else ()
