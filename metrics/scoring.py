"""Scores every row on every pair: one pair in memory at a time. Layer 1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ldm.data.manifest import FramePair
from metrics.measures import measure_frames
from metrics.pairs import Grouping, episode_of
from metrics.picture import read_pixels


class Candidate(Protocol):
    """One row of the table: a system or a baseline."""

    @property
    def name(self) -> str:
        """Name of the row."""

    def predict_frame(self, pair: FramePair, source: np.ndarray) -> np.ndarray | None:
        """uint8 (H, W, 3) prediction of the size of the current frame; None where there is none."""


@dataclass(frozen=True)
class PairScore:
    """Values of one row on one pair."""

    row: str
    pair_id: str
    group: str
    episode: tuple
    values: dict[str, float]


@dataclass(frozen=True)
class Scorer:
    """How pairs are read and what is measured on them."""

    folder: Path
    candidates: tuple[Candidate, ...]
    grouping: Grouping
    keys: tuple[str, ...]
    size: int | None = None

    def score_pair(self, pair: FramePair) -> list[PairScore]:
        """Scores of all candidates that predict this pair.

        Raises:
            ValueError: if a picture cannot be read or sizes differ.
        """
        source = read_pixels(pair.source_path(self.folder), self.size)
        truth = read_pixels(pair.target_path(self.folder), self.size)
        scores = []
        for candidate in self.candidates:
            frame = candidate.predict_frame(pair, source)
            if frame is not None:
                values = measure_frames(source, frame, truth, self.keys)
                scores.append(PairScore(candidate.name, pair.pair_id, self.grouping(pair), episode_of(pair), values))
        return scores

    def score_pairs(self, pairs: Iterable[FramePair]) -> Iterator[list[PairScore]]:
        """Scores pair by pair, in order."""
        return (self.score_pair(pair) for pair in pairs)
