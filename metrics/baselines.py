"""The predictions that any model has to be shown beside.

    copy the input                    nothing moves
    mean of training targets          per task (or step): the blurred average ending
    target of the nearest training input
                                      looking up instead of understanding: L2 distance of the current frames, within
                                      the task, on pixels at 64 x 64
    reconstruction (upper bound)      what a latent model's first stage makes of the truth

    python -m metrics.baselines --data data/sim_test --train-data data/sim_train --size 64 --output runs/baselines
    python -m metrics.baselines --train-data data/sim_train --size 64 --output-means means.npz

The second keeps the mean pictures in one small file, for machines that do not have the training data. The
reconstruction needs the model, so edit_cli writes it, as a folder that metrics.compute_metrics takes:

    python edit_cli.py --input data/sim_test --reconstruction --ckpt <weights> --output runs/reconstruction
    python -m metrics.compute_metrics ... --predictions reconstruction=runs/reconstruction runs/predictions
"""

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image
from rich.console import Console

from commands.errors import MissingFileError, UserError
from formats.atomic import atomic_path, write_text
from formats.prepared_folder import FramePair
from metrics.comparison.baselines import Baseline, CopyInput, NearestTarget, TrainMean, average_targets, make_train_mean
from metrics.comparison.pairs import GROUPINGS, Grouping, data_root, group_by_task, parse_episodes, read_pairs
from metrics.comparison.picture import read_pixels, resize_picture


def write_means(path: Path, means: dict[str, np.ndarray]) -> None:
    """Keep mean pictures in one compressed npz file, a key a group."""
    with atomic_path(path) as draft:
        np.savez_compressed(draft, **means)


def read_means(path: Path) -> dict[str, np.ndarray]:
    """Mean pictures that `write_means` kept.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {group: archive[group] for group in archive.files}
    except FileNotFoundError as error:
        raise MissingFileError(
            f"no file {path}. Make it with: python -m metrics.baselines --train-data <folder> --size 64 "
            f"--output-means {path}"
        ) from error
    except (OSError, ValueError, AttributeError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path} holds no mean pictures; metrics.baselines --output-means writes them.") from error


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
        signature = hashlib.sha256(means_file.read_bytes()).hexdigest() if means_file.is_file() else "absent"
        baselines.append(TrainMean(partial(read_means, means_file), signature, grouping))
    elif train_pairs:
        baselines.append(make_train_mean(train_folder, train_pairs, size, grouping))
    if train_pairs:
        baselines.append(NearestTarget(train_folder, tuple(train_pairs), size, grouping))
    return baselines


def write_baseline(baseline: Baseline, folder: Path, pairs: Iterable[FramePair], size: int | None, output: Path) -> int:
    """Write a baseline as a predictions folder; returns the number of pictures."""
    lines = []
    for pair in pairs:
        picture = baseline.predict_picture(pair, read_pixels(pair.source_path(folder), size))
        if picture is None:
            continue
        frame = picture.pixels if size is None else resize_picture(picture.pixels, size)
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
        raise UserError("nothing to do: give --data and --output, or --train-data and --output-means.")
    grouping = GROUPINGS[options.group]
    train_folder, train_pairs = None, None
    if options.train_data:
        train_folder = data_root(options.train_data)
        split = None if options.train_split == "all" else options.train_split
        train_pairs = read_pairs(train_folder, split, parse_episodes(options.train_episodes))
    if options.output_means:
        write_means(options.output_means, average_targets(train_folder, train_pairs, options.size, grouping))
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
            Console().print(line, markup=False, highlight=False, soft_wrap=True)
    except (ValueError, OSError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
