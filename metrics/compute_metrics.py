"""Compares folders of predicted frames with the truth; prints and writes a table with baselines.

    python -m metrics.compute_metrics --data data/sim --split test --predictions runs/demo --train-data data/sim \
        --size 64 --output runs/demo_metrics

The row "copy the input" stands in every table: a number means nothing without it.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

from metrics.comparison.cache import default_cache_folder
from metrics.comparison.compare import compare
from metrics.comparison.files import write_comparison
from metrics.comparison.pairs import GROUPINGS
from metrics.comparison.table_formats import to_rich
from metrics.measures.columns import CHOOSABLE, DEFAULT_MEASURES, parse_measures


def make_parser(command: str, description: str) -> argparse.ArgumentParser:
    """Options that all commands over a data folder share."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with the true frames")
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of --data; all pairs by default")
    parser.add_argument("--episodes", help="episodes of --data, such as 64-79; all by default")
    parser.add_argument("--predictions", nargs="*", default=[], metavar="[NAME=]FOLDER", help="predicted frames")
    parser.add_argument("--match", type=Path, help="csv (pair_id or sample, file) that says which picture is whose")
    parser.add_argument("--group", choices=tuple(GROUPINGS), default="task", help="what a table has lines for")
    parser.add_argument("--size", type=int, help="resize predictions and frames to SIZE x SIZE")
    parser.add_argument("--output", type=Path, help="folder for table.csv, .json, .md, pairs.jsonl and the grid")
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = make_parser("metrics.compute_metrics", __doc__.split("\n")[0])
    parser.add_argument("--train-data", type=Path, help="prepared folder that the training baselines learn from")
    parser.add_argument("--train-split", default="train", help="split of --train-data, or 'all' (default: train)")
    parser.add_argument("--train-episodes", help="episodes of --train-data, such as 0-63")
    parser.add_argument("--train-means", type=Path, help="npz file of metrics.baselines, instead of training data")
    parser.add_argument(
        "--measures", default=",".join(DEFAULT_MEASURES), help=f"comma-separated: {', '.join(CHOOSABLE)}"
    )
    parser.add_argument(
        "--convention",
        choices=("proper", "as_published"),
        default="proper",
        help="as_published adds the papers' columns beside the proper ones",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder with weights for LPIPS, CLIP, FID (default: torch.hub's, then checkpoints/)",
    )
    parser.add_argument("--workers", type=int, help="processes; one a processor by default")
    parser.add_argument("--cache", type=Path, default=default_cache_folder(), help="folder in which results are kept")
    parser.add_argument("--no-cache", action="store_true", help="measure everything again, keep nothing")
    options = parser.parse_args(argv)
    options.command = shlex.join(["python", "-m", "metrics.compute_metrics", *(sys.argv[1:] if argv is None else argv)])
    return options


def main(argv: list[str] | None = None) -> int:
    """Print the table, write it where --output says; returns the exit code."""
    options = parse_arguments(argv)
    console, errors = Console(), Console(stderr=True, highlight=False, soft_wrap=True)

    def show_progress(scores: Iterator, total: int) -> Iterable:
        return track(scores, "scoring", total=total, console=errors, transient=True, disable=not errors.is_terminal)

    try:
        options.measures = parse_measures(options.measures)
        comparison = compare(options, None if options.no_cache else options.cache, show_progress)
        files = write_comparison(comparison, options.output) if options.output else []
    except (ValueError, OSError) as error:
        errors.print(str(error), markup=False)
        return 2
    for part in to_rich(comparison.table, f"{options.data}, {len(comparison.pairs)} pairs", console.width):
        console.print(part)
    for note in comparison.table.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    for file in files:
        console.print(str(file), markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
