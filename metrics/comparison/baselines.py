"""Copy the input, mean of training targets, target of the nearest training input.

The training folder is read when the first prediction is needed, so a table from cached results reads nothing.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from einops import rearrange, reduce
from PIL import Image

from commands.errors import MissingFileError, UserError
from formats.atomic import atomic_path
from formats.prepared_folder import FramePair
from metrics.comparison.pairs import Grouping, PairSelection, group_by_task
from metrics.comparison.resizing import MAX_SIZE, file_stamp, read_pixels
from metrics.comparison.rows import BASELINE, COPY, COPY_KIND, MEAN, NEAREST, TRUTH, UPPER_BOUND, Kind
from metrics.comparison.scoring import Candidate, Prediction

NEAREST_SIZE = 64  # pixels a side on which current frames are compared
MAX_MEANS, MAX_MEANS_BYTES = 4096, 2**30  # mean pictures in one npz file, and their pixels together


@dataclass(frozen=True)
class TrainingSet:
    """Pairs that the training baselines learn from, and the size that they are compared at."""

    folder: Path
    pairs: tuple[FramePair, ...]
    size: int | None = None

    @cached_property
    def signature(self) -> str:
        """Hash of the files' names, sizes and times: changes when one of them does."""
        stamps = [
            (pair.pair_id, *file_stamp(pair.target_path(self.folder)), *file_stamp(pair.source_path(self.folder)))
            for pair in self.pairs
        ]
        return hashlib.sha256(json.dumps([str(self.folder), self.size, stamps]).encode()).hexdigest()


def read_training(selection: PairSelection | None, size: int | None) -> TrainingSet | None:
    """The selected pairs; None where no training data are given."""
    return selection and TrainingSet(selection.root, tuple(selection.read()), size)


@dataclass(frozen=True)
class TrueFrame(Candidate):
    """The true future frame, for measures that are not perfect on it."""

    folder: Path
    name: str = TRUTH
    kind: Kind = UPPER_BOUND

    def identity(self, pair: FramePair) -> str | None:
        """The name: the frame itself is part of the pair."""
        return self.name

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """The true future frame."""
        return Prediction(read_pixels(pair.target_path(self.folder)))


@dataclass(frozen=True)
class CopyInput(Candidate):
    """Predicts that nothing moves."""

    name: str = COPY
    kind: Kind = COPY_KIND

    def identity(self, pair: FramePair) -> str | None:
        """The name: the prediction depends on nothing but the current frame."""
        return self.name

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """The current frame."""
        return Prediction(source)


@dataclass(frozen=True)
class TrainMean(Candidate):
    """Predicts the mean training target of the group; None for a group that was not trained.

    Args:
        load: gives the mean pictures, uint8 (H, W, 3) by group; called when the first is needed.
        signature: what they depend on.
    """

    load: Callable[[], dict[str, np.ndarray]]
    signature: str
    grouping: Grouping = group_by_task
    name: str = MEAN
    kind: Kind = BASELINE

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

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """Mean target of the pair's group.

        Raises:
            UserError: if the means were made at another size.
        """
        mean = self.means.get(self.grouping(pair))
        if mean is not None and mean.shape != source.shape:
            raise UserError(
                f"the mean training targets are {mean.shape[1]}x{mean.shape[0]}, the frames {source.shape[1]}x"
                f"{source.shape[0]}: make them again with python -m metrics.baselines --size {source.shape[0]}."
            )
        return None if mean is None else Prediction(mean)


@dataclass(frozen=True)
class NearestTarget(Candidate):
    """Predicts the target of the training pair of the same group whose current frame is nearest."""

    training: TrainingSet
    grouping: Grouping = group_by_task
    name: str = NEAREST
    kind: Kind = BASELINE

    @cached_property
    def by_group(self) -> dict[str, tuple[list[FramePair], np.ndarray]]:
        """Training pairs and their current frames, float32 (N, D), by group."""
        folder, size = self.training.folder, self.training.size
        groups: dict[str, list[FramePair]] = {}
        for pair in self.training.pairs:
            groups.setdefault(self.grouping(pair), []).append(pair)
        return {
            group: (members, np.stack([_descriptor(read_pixels(pair.source_path(folder), size)) for pair in members]))
            for group, members in groups.items()
        }

    def prepare(self) -> None:
        """Read the training inputs now, before work is shared out."""
        _ = self.by_group

    def identity(self, pair: FramePair) -> str | None:
        """Training set and group."""
        return f"{self.name} {self.training.signature} {self.grouping(pair)}"

    def nearest_pair(self, pair: FramePair, source: np.ndarray) -> FramePair | None:
        """Training pair with the nearest current frame; None for a group that was not trained."""
        members, descriptors = self.by_group.get(self.grouping(pair), ([], None))
        if not members:
            return None
        distance = reduce((descriptors - _descriptor(source)) ** 2, "n d -> n", "sum")
        return members[int(distance.argmin())]

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """Target of the nearest training pair."""
        nearest = self.nearest_pair(pair, source)
        return None if nearest is None else Prediction(read_pixels(nearest.target_path(self.training.folder)))


def average_targets(training: TrainingSet, grouping: Grouping = group_by_task) -> dict[str, np.ndarray]:
    """Mean target of each group, uint8 (H, W, 3): one pass, one picture a group in memory."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for pair in training.pairs:
        group = grouping(pair)
        target = read_pixels(pair.target_path(training.folder), training.size).astype(np.int64)
        sums[group] = sums[group] + target if group in sums else target
        counts[group] = counts.get(group, 0) + 1
    return {group: np.rint(total / counts[group]).astype(np.uint8) for group, total in sums.items()}


def make_train_mean(training: TrainingSet, grouping: Grouping = group_by_task) -> TrainMean:
    """Mean training targets, read when first needed."""
    return TrainMean(partial(average_targets, training, grouping), training.signature, grouping)


def write_means(path: Path, means: dict[str, np.ndarray]) -> None:
    """Keep mean pictures in one compressed npz file, a key a group."""
    with atomic_path(path) as draft:
        np.savez_compressed(draft, **means)


def read_means(path: Path) -> dict[str, np.ndarray]:
    """Mean pictures that `write_means` kept, uint8 (H, W, 3) by group.

    What the file declares is checked before anything is unpacked: a few kilobytes may declare terabytes.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it is no such file, or declares other shapes.
    """
    if not path.is_file():
        raise MissingFileError(
            f"no file {path}. Make it with: python -m metrics.baselines --train-data <folder> --size 64 "
            f"--output-means {path}"
        )
    try:
        with ZipFile(path) as archive:
            _check_declared(archive)
        with np.load(path, allow_pickle=False) as means:
            return {group: means[group] for group in means.files}
    except (
        OSError,
        ValueError,
        AttributeError,
        TypeError,
        EOFError,
        BadZipFile,
        NotImplementedError,  # of zipfile, where a damaged archive names a compression or version that it has not
        zlib.error,
    ) as reason:
        raise UserError(
            f"{path} holds no mean pictures ({reason}); metrics.baselines --output-means writes them."
        ) from reason


def _check_declared(archive: ZipFile) -> None:
    """Refuse an npz file whose heads declare anything but pictures; raises ValueError."""
    members = archive.infolist()
    if not 0 < len(members) <= MAX_MEANS:
        raise ValueError(f"{len(members)} arrays instead of 1 to {MAX_MEANS}")
    total = 0
    for member in members:
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read_head = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read_head:
                raise ValueError(f"{member.filename} is of npy version {version}")
            shape, _, dtype = read_head[version](stream)
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not 0 < min(shape) <= max(shape) <= MAX_SIZE:
            raise ValueError(f"{member.filename} is {dtype} {shape} instead of uint8 (H, W, 3)")
        total += math.prod(shape)
    if total > MAX_MEANS_BYTES:
        raise ValueError(f"pictures of {total} bytes instead of at most {MAX_MEANS_BYTES}")


def make_baselines(
    training: TrainingSet | None, means_file: Path | None, grouping: Grouping = group_by_task
) -> list[Candidate]:
    """Copy the input always; the other two as far as training data or a means file is given."""
    baselines: list[Candidate] = [CopyInput()]
    if means_file is not None:
        signature = hashlib.sha256(means_file.read_bytes()).hexdigest() if means_file.is_file() else "absent"
        baselines.append(TrainMean(partial(read_means, means_file), signature, grouping))
    elif training:
        baselines.append(make_train_mean(training, grouping))
    if training:
        baselines.append(NearestTarget(training, grouping))
    return baselines


def _descriptor(source: np.ndarray) -> np.ndarray:
    image = Image.fromarray(source).resize((NEAREST_SIZE, NEAREST_SIZE), Image.Resampling.BOX)
    return rearrange(np.asarray(image, dtype=np.float32), "h w c -> (h w c)")
