"""The predictions that any model has to be shown beside. Layer 1.

    copy the input                    nothing moves
    mean of training targets          per task (or step): the blurred average ending
    target of the nearest training input
                                      looking up instead of understanding: L2 distance of the current frames, within
                                      the task, on pixels at 64 x 64
    autoencoder's reconstruction      the upper bound of a latent model: what its first stage makes of the truth

    python -m metrics.baselines --data data/sim_test --train-data data/sim_train --size 64 --output runs/baselines
    python -m metrics.baselines --train-data data/sim_train --size 64 --output-means means.npz

The second keeps the mean pictures in one small file, for machines that do not have the training data. The
reconstruction is a predictions folder like any other: edit_cli writes it.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange, reduce
from PIL import Image

from ldm.data.atomic import atomic_path, write_text
from ldm.data.manifest import FramePair
from metrics.pairs import GROUPINGS, Grouping, data_root, group_by_task, parse_episodes, read_pairs
from metrics.picture import read_pixels

COPY, MEAN, NEAREST = "copy the input", "mean of training targets", "target of the nearest training input"
NEAREST_SIZE = 64  # pixels a side on which current frames are compared


@dataclass(frozen=True)
class CopyInput:
    """Predicts that nothing moves."""

    name: str = COPY

    def predict_frame(self, pair: FramePair, source: np.ndarray) -> np.ndarray | None:
        """The current frame, uint8 (H, W, 3)."""
        return source


@dataclass(frozen=True)
class TrainMean:
    """Predicts the mean training target of the group; None for a group that was not trained."""

    means: dict[str, np.ndarray]  # uint8 (H, W, 3) by group
    grouping: Grouping = group_by_task
    name: str = MEAN

    def predict_frame(self, pair: FramePair, source: np.ndarray) -> np.ndarray | None:
        """Mean target of the pair's group.

        Raises:
            ValueError: if the means were made at another size.
        """
        mean = self.means.get(self.grouping(pair))
        if mean is not None and mean.shape != source.shape:
            raise ValueError(
                f"the mean training targets are {mean.shape[1]}x{mean.shape[0]}, the frames {source.shape[1]}x"
                f"{source.shape[0]}: make them again with python -m metrics.baselines --size {source.shape[0]}."
            )
        return mean


@dataclass(frozen=True)
class NearestTarget:
    """Predicts the target of the training pair of the same group whose current frame is nearest."""

    folder: Path
    pairs: dict[str, list[FramePair]]  # training pairs by group
    descriptors: dict[str, np.ndarray]  # float32 (N, D) current frames by group
    size: int | None
    grouping: Grouping = group_by_task
    name: str = NEAREST

    def nearest_pair(self, pair: FramePair, source: np.ndarray) -> FramePair | None:
        """Training pair with the nearest current frame; None for a group that was not trained."""
        group = self.grouping(pair)
        if group not in self.pairs:
            return None
        distance = reduce((self.descriptors[group] - _descriptor(source)) ** 2, "n d -> n", "sum")
        return self.pairs[group][int(distance.argmin())]

    def predict_frame(self, pair: FramePair, source: np.ndarray) -> np.ndarray | None:
        """Target of the nearest training pair, at the size of the comparison."""
        nearest = self.nearest_pair(pair, source)
        return None if nearest is None else read_pixels(nearest.target_path(self.folder), self.size)


Baseline = CopyInput | TrainMean | NearestTarget


def make_train_mean(
    folder: Path, pairs: Iterable[FramePair], size: int | None, grouping: Grouping = group_by_task
) -> TrainMean:
    """Average the targets of each group: one pass, one picture a group in memory."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for pair in pairs:
        group = grouping(pair)
        target = read_pixels(pair.target_path(folder), size).astype(np.int64)
        sums[group] = sums[group] + target if group in sums else target
        counts[group] = counts.get(group, 0) + 1
    return TrainMean({g: np.rint(total / counts[g]).astype(np.uint8) for g, total in sums.items()}, grouping)


def make_nearest(
    folder: Path, pairs: Iterable[FramePair], size: int | None, grouping: Grouping = group_by_task
) -> NearestTarget:
    """Keep a 64 x 64 picture of each training input, by group."""
    by_group: dict[str, list[FramePair]] = {}
    for pair in pairs:
        by_group.setdefault(grouping(pair), []).append(pair)
    descriptors = {
        group: np.stack([_descriptor(read_pixels(pair.source_path(folder), size)) for pair in members])
        for group, members in by_group.items()
    }
    return NearestTarget(folder, by_group, descriptors, size, grouping)


def _descriptor(source: np.ndarray) -> np.ndarray:
    image = Image.fromarray(source).resize((NEAREST_SIZE, NEAREST_SIZE), Image.Resampling.BOX)
    return rearrange(np.asarray(image, dtype=np.float32), "h w c -> (h w c)")


def write_means(path: Path, baseline: TrainMean) -> None:
    """Keep mean pictures in one compressed npz file, a key a group."""
    with atomic_path(path) as draft:
        np.savez_compressed(draft, **baseline.means)


def read_means(path: Path, grouping: Grouping = group_by_task) -> TrainMean:
    """Mean pictures that `write_means` kept.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            means = {group: archive[group] for group in archive.files}
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no file {path}. Make it with: python -m metrics.baselines --train-data <folder> --size 64 "
            f"--output-means {path}"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no mean pictures; metrics.baselines --output-means writes them.") from error
    return TrainMean(means, grouping)


def make_baselines(
    train_folder: Path | None,
    train_pairs: list[FramePair] | None,
    means_file: Path | None,
    size: int | None,
    grouping: Grouping = group_by_task,
) -> list[Baseline]:
    """Copy the input always; the other two as far as training data or a means file is given."""
    baselines: list[Baseline] = [CopyInput()]
    if means_file is not None:
        baselines.append(read_means(means_file, grouping))
    elif train_pairs:
        baselines.append(make_train_mean(train_folder, train_pairs, size, grouping))
    if train_pairs:
        baselines.append(make_nearest(train_folder, train_pairs, size, grouping))
    return baselines


def write_baseline(baseline: Baseline, folder: Path, pairs: Iterable[FramePair], size: int | None, output: Path) -> int:
    """Write a baseline as a predictions folder; returns the number of pictures."""
    lines = []
    for pair in pairs:
        frame = baseline.predict_frame(pair, read_pixels(pair.source_path(folder), size))
        if frame is None:
            continue
        file = f"{pair.pair_id}.png"
        with atomic_path(output / file) as draft:
            Image.fromarray(frame).save(draft)
        lines.append(json.dumps({"pair_id": pair.pair_id, "file": file, "baseline": baseline.name}))
    write_text(output / "predictions.jsonl", "".join(line + "\n" for line in lines))
    return len(lines)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m metrics.baselines", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="prepared folder to predict")
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of --data; all pairs by default")
    parser.add_argument("--episodes", help="episodes of --data, such as 64-79")
    parser.add_argument("--train-data", type=Path, help="prepared folder to learn from")
    parser.add_argument("--train-split", default="train", help="split of --train-data, or 'all' (default: train)")
    parser.add_argument("--train-episodes", help="episodes of --train-data, such as 0-63")
    parser.add_argument("--group", choices=tuple(GROUPINGS), default="task", help="what a mean is taken over")
    parser.add_argument("--size", type=int, help="resize everything to SIZE x SIZE")
    parser.add_argument("--output", type=Path, help="where the predictions folders go")
    parser.add_argument("--output-means", type=Path, help="npz file for the mean training targets")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> Iterator[str]:
    if not (options.output and options.data) and not (options.output_means and options.train_data):
        raise ValueError("nothing to do: give --data and --output, or --train-data and --output-means.")
    grouping = GROUPINGS[options.group]
    train_folder, train_pairs = None, None
    if options.train_data:
        train_folder = data_root(options.train_data)
        split = None if options.train_split == "all" else options.train_split
        train_pairs = read_pairs(train_folder, split, parse_episodes(options.train_episodes))
    if options.output_means:
        write_means(options.output_means, make_train_mean(train_folder, train_pairs, options.size, grouping))
        yield f"mean of {len(train_pairs)} training targets: {options.output_means}"
    if options.output:
        pairs = read_pairs(options.data, options.split, parse_episodes(options.episodes))
        for baseline in make_baselines(train_folder, train_pairs, None, options.size, grouping):
            output = options.output / baseline.name.replace(" ", "_")
            count = write_baseline(baseline, data_root(options.data), pairs, options.size, output)
            yield f"{baseline.name}: {count} pictures in {output}"


def main(argv: list[str] | None = None) -> int:
    """Write baselines as predictions folders; returns the exit code."""
    try:
        for line in _run(_parse(argv)):
            print(line)  # noqa: T201 - the command's product
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
