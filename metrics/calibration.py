"""Is a model as unsure as it is wrong? The spread of its samples against the error of their mean, pixel by pixel.

    python edit_cli.py --input data/prepared --split test --output sampled --samples 8
    python -m metrics.calibration --data data/prepared --split test --predictions sampled --output calibration

Pixels are binned by predicted spread; a bin's error is the root of the mean square of truth minus mean. For N samples
of the truth's own distribution that error is sqrt(1 + 1/N) times the spread. A spread of 0 says that nothing moves.
Where the drawn mean is not the mean of the truth, the error holds that too: calibration is of the whole prediction.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import MissingFileError, UserError
from commands.run import run_command, show_progress
from formats.atomic import write_text
from formats.pictures import read_picture
from formats.predictions_folder import SPREAD_GAIN, picture_path, read_records, spread_path
from formats.tables import to_csv, to_markdown
from metrics.comparison.pairs import PairSelection
from metrics.comparison.resizing import resize_picture

EDGES = (0.0, 0.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, math.inf)  # grey levels of 255; half-open bins
HEADINGS = (
    "predicted spread",
    "pixels",
    "share",
    "mean spread",
    "error",
    "error over spread",
    "share of squared error",
)


@dataclass(frozen=True)
class Bin:
    """Pixels whose predicted spread lies in [low, high), in grey levels."""

    low: float
    high: float
    count: int
    spread: float  # root of the mean square
    error: float  # root of the mean square


def measure_calibration(pictures: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[Bin]:
    """Bins over all pixels of all pictures; empty ones are left out.

    Args:
        pictures: truth and mean (H, W, 3) uint8, spread (H, W) in grey levels of a colour.
    """
    sums = np.zeros((3, len(EDGES) - 1))
    for truth, mean, spread in pictures:
        squared = ((truth.astype(np.float64) - mean) ** 2).mean(axis=2)
        at = np.digitize(spread, EDGES).ravel() - 1
        for row, weights in enumerate((np.ones(at.shape), spread.ravel() ** 2, squared.ravel())):
            sums[row] += np.bincount(at, weights, sums.shape[1])
    return [
        Bin(EDGES[i], EDGES[i + 1], int(count), math.sqrt(spread / count), math.sqrt(squared / count))
        for i, (count, spread, squared) in enumerate(sums.T)
        if count
    ]


def read_sampled(selection: PairSelection, folder: Path) -> list[tuple[Path, Path, Path]]:
    """Truth, mean and map of every pair that was predicted with samples.

    Raises:
        MissingFileError: if there is none.
        UserError: if the folder's predictions were made without samples.
    """
    records, pairs = read_records(folder), selection.read()
    if records and not any(record.get("samples") for record in records.values()):
        raise UserError(f"{folder} was predicted without --samples, so it says nothing of doubt; predict it with them.")
    found = [
        (pair.target_path(selection.root), picture_path(folder, pair.pair_id), spread_path(folder, pair.pair_id))
        for pair in pairs
        if pair.pair_id in records
    ]
    if not found:
        raise MissingFileError(f"{folder} has no predictions of these pairs; edit_cli.py --samples 8 makes them.")
    return found


def _read(paths: tuple[Path, Path, Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, mean, spread = (read_picture(path).pixels for path in paths)
    truth = truth if truth.shape == mean.shape else resize_picture(truth, mean.shape[0])
    return truth, mean, spread[..., 0] / SPREAD_GAIN


def run(argv: Sequence[str] | None = None) -> None:
    """Write and print the table."""
    parser = argparse.ArgumentParser(prog="python -m metrics.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with the true frames")
    parser.add_argument("--split", choices=("train", "val", "test"), help="all pairs by default")
    parser.add_argument("--predictions", type=Path, required=True, help="of edit_cli.py --samples")
    parser.add_argument("--output", type=Path, help="folder to write calibration.md and .csv to")
    opt = parser.parse_args(argv)
    files = read_sampled(PairSelection(opt.data, opt.split), opt.predictions)
    bins = measure_calibration(show_progress(map(_read, files), "comparing", len(files)))
    rows = [_numbers(one, bins) for one in bins]
    table = to_markdown(HEADINGS, [_texts(row) for row in rows], range(1, len(HEADINGS)))
    table += f"\n\n{len(files)} pairs; grey levels of 255. {opt.predictions}\n"
    if opt.output is not None:
        write_text(opt.output / "calibration.md", table)
        write_text(opt.output / "calibration.csv", to_csv(("low", "high", *HEADINGS[1:]), rows))
    sys.stdout.write(table)


def _numbers(one: Bin, bins: Sequence[Bin]) -> list[float]:
    pixels, squares = sum(b.count for b in bins), sum(b.count * b.error**2 for b in bins)
    ratio = one.error / one.spread if one.spread else math.nan
    part = one.count * one.error**2 / squares if squares else 0.0
    return [one.low, one.high, one.count, one.count / pixels, one.spread, one.error, ratio, part]


def _texts(row: Sequence[float]) -> list[str]:
    low, high, count, share, spread, error, ratio, part = row
    span = f"{low:g} to {high:g}" if math.isfinite(high) else f"from {low:g}"
    times = "-" if math.isnan(ratio) else f"{ratio:.2f}"
    return [span, f"{count:,}", f"{share:.1%}", f"{spread:.2f}", f"{error:.2f}", times, f"{part:.1%}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write; returns the exit code."""
    return run_command("python -m metrics.calibration", lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
