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
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from commands.errors import UserError
from commands.run import run_command
from formats.predictions_folder import picture_path, save_picture, write_records
from formats.prepared_folder import FramePair
from metrics.comparison.baselines import average_targets, make_baselines, read_training, write_means
from metrics.comparison.pairs import GROUPINGS
from metrics.comparison.resizing import check_size, read_pixels, resize_picture
from metrics.comparison.scoring import Candidate
from metrics.compute_metrics import (
    add_data_options,
    add_group_option,
    add_training_options,
    read_data_options,
    read_training_options,
)


def write_baseline(
    baseline: Candidate, folder: Path, pairs: Iterable[FramePair], size: int | None, output: Path
) -> int:
    """Write a baseline as a predictions folder; returns the number of pictures."""
    records = []
    for pair in pairs:
        picture = baseline.predict_picture(pair, read_pixels(pair.source_path(folder), size))
        if picture is None:
            continue
        frame = picture.pixels if size is None else resize_picture(picture.pixels, size)
        path = picture_path(output, pair.pair_id)
        record = {"pair_id": pair.pair_id, "file": path.relative_to(output).as_posix(), "baseline": baseline.name}
        save_picture(path, Image.fromarray(frame), record)
        records.append(record)
    write_records(output, records)
    return len(records)


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.baselines", description=__doc__.split("\n")[0])
    add_data_options(parser, required=False)
    add_group_option(parser)
    add_training_options(parser)
    parser.add_argument("--output", type=Path, help="where the predictions folders go")
    parser.add_argument("--output-means", type=Path, help="npz file for the mean training targets")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write baselines as predictions folders and mean pictures as a file; returns the exit code."""
    options = make_parser().parse_args(argv)

    def run() -> None:
        if not (options.output or options.output_means):
            raise UserError("nothing to do: give --data and --output, or --train-data and --output-means.")
        if (options.output and not options.data) or (options.output_means and not options.train_data):
            raise UserError("--output needs --data, and --output-means needs --train-data.")
        grouping, size = GROUPINGS[options.group], check_size(options.size)
        training = read_training(read_training_options(options), size)
        if options.output_means:
            write_means(options.output_means, average_targets(training, grouping))
            sys.stdout.write(f"mean of {len(training.pairs)} training targets: {options.output_means}\n")
        if options.output:
            data = read_data_options(options)
            pairs = data.read()
            for baseline in make_baselines(training, None, grouping):
                folder = options.output / baseline.name.replace(" ", "_")
                count = write_baseline(baseline, data.root, pairs, size, folder)
                sys.stdout.write(f"{baseline.name}: {count} pictures in {folder}\n")

    return run_command("python -m metrics.baselines", run)


if __name__ == "__main__":
    sys.exit(main())
