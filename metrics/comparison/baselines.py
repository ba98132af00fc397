"""Copy the input, mean of training targets, target of the nearest training input.

What they learn is read from the training folder when the first prediction is asked for, so that a table whose results
are cached reads nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from einops import rearrange, reduce
from PIL import Image

from commands.errors import UserError
from formats.prepared_folder import FramePair
from metrics.comparison.pairs import Grouping, group_by_task
from metrics.comparison.picture import Picture, file_stamp, read_picture, read_pixels

COPY, MEAN, NEAREST = "copy the input", "mean of training targets", "target of the nearest training input"
RECONSTRUCTION, UPPER_BOUND = "reconstruction", "(upper bound)"  # of the truth by a first stage; ends such a row's name
NEAREST_SIZE = 64  # pixels a side on which current frames are compared


def is_upper_bound(row: str) -> bool:
    """Whether a row of a table is made from the truth, so that no prediction can be asked to beat it."""
    return row.endswith(UPPER_BOUND)


@dataclass(frozen=True)
class CopyInput:
    """Predicts that nothing moves."""

    name: str = COPY

    def prepare(self) -> None:
        """Nothing to learn."""

    def identity(self, pair: FramePair) -> str | None:
        """What the prediction depends on besides the current frame: nothing."""
        return self.name

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Picture | None:
        """The current frame."""
        return Picture(source)


@dataclass(frozen=True)
class TrainMean:
    """Predicts the mean training target of the group; None for a group that was not trained.

    Args:
        load: gives the mean pictures, uint8 (H, W, 3) by group; called when the first is needed.
        signature: what they depend on.
    """

    load: Callable[[], dict[str, np.ndarray]]
    signature: str
    grouping: Grouping = group_by_task
    name: str = MEAN

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        """Mean pictures by group."""
        return self.load()

    def prepare(self) -> None:
        """Read the training targets now, before work is shared out."""
        _ = self.means

    def identity(self, pair: FramePair) -> str | None:
        """Training set and group."""
        return f"{self.name} {self.signature} {self.grouping(pair)}"

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Picture | None:
        """Mean target of the pair's group.

        Raises:
            ValueError: if the means were made at another size.
        """
        mean = self.means.get(self.grouping(pair))
        if mean is not None and mean.shape != source.shape:
            raise UserError(
                f"the mean training targets are {mean.shape[1]}x{mean.shape[0]}, the frames {source.shape[1]}x"
                f"{source.shape[0]}: make them again with python -m metrics.baselines --size {source.shape[0]}."
            )
        return None if mean is None else Picture(mean)


@dataclass(frozen=True)
class NearestTarget:
    """Predicts the target of the training pair of the same group whose current frame is nearest."""

    folder: Path
    pairs: tuple[FramePair, ...]
    size: int | None
    grouping: Grouping = group_by_task
    name: str = NEAREST

    @cached_property
    def by_group(self) -> dict[str, tuple[list[FramePair], np.ndarray]]:
        """Training pairs and their current frames, float32 (N, D), by group."""
        groups: dict[str, list[FramePair]] = {}
        for pair in self.pairs:
            groups.setdefault(self.grouping(pair), []).append(pair)
        return {
            group: (
                members,
                np.stack([_descriptor(read_pixels(p.source_path(self.folder), self.size)) for p in members]),
            )
            for group, members in groups.items()
        }

    @cached_property
    def signature(self) -> str:
        """Identity of the training set."""
        return sign_files(self.folder, self.pairs, self.size)

    def prepare(self) -> None:
        """Read the training inputs now, before work is shared out."""
        _ = self.by_group

    def identity(self, pair: FramePair) -> str | None:
        """Training set and group."""
        return f"{self.name} {self.signature} {self.grouping(pair)}"

    def nearest_pair(self, pair: FramePair, source: np.ndarray) -> FramePair | None:
        """Training pair with the nearest current frame; None for a group that was not trained."""
        members, descriptors = self.by_group.get(self.grouping(pair), ([], None))
        if not members:
            return None
        distance = reduce((descriptors - _descriptor(source)) ** 2, "n d -> n", "sum")
        return members[int(distance.argmin())]

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Picture | None:
        """Target of the nearest training pair."""
        nearest = self.nearest_pair(pair, source)
        return None if nearest is None else read_picture(nearest.target_path(self.folder))


Baseline = CopyInput | TrainMean | NearestTarget


def average_targets(
    folder: Path, pairs: Iterable[FramePair], size: int | None, grouping: Grouping = group_by_task
) -> dict[str, np.ndarray]:
    """Mean target of each group, uint8 (H, W, 3): one pass, one picture a group in memory."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for pair in pairs:
        group = grouping(pair)
        target = read_pixels(pair.target_path(folder), size).astype(np.int64)
        sums[group] = sums[group] + target if group in sums else target
        counts[group] = counts.get(group, 0) + 1
    return {group: np.rint(total / counts[group]).astype(np.uint8) for group, total in sums.items()}


def make_train_mean(
    folder: Path, pairs: Iterable[FramePair], size: int | None, grouping: Grouping = group_by_task
) -> TrainMean:
    """Mean training targets, read when first needed."""
    pairs = tuple(pairs)
    return TrainMean(partial(average_targets, folder, pairs, size, grouping), sign_files(folder, pairs, size), grouping)


def sign_files(folder: Path, pairs: Iterable[FramePair], size: int | None) -> str:
    """Hash of the training files' names, sizes and times: changes when one of them does."""
    stats = [
        (pair.pair_id, *file_stamp(pair.target_path(folder)), *file_stamp(pair.source_path(folder))) for pair in pairs
    ]
    return hashlib.sha256(json.dumps([str(folder), size, stats]).encode()).hexdigest()


def _descriptor(source: np.ndarray) -> np.ndarray:
    image = Image.fromarray(source).resize((NEAREST_SIZE, NEAREST_SIZE), Image.Resampling.BOX)
    return rearrange(np.asarray(image, dtype=np.float32), "h w c -> (h w c)")
