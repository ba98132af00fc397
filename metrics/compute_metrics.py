"""Compares folders of predicted frames with the truth; prints and writes a table with baselines.

    python -m metrics.compute_metrics --data data/sim --split test --predictions runs/demo --train-data data/sim \
        --size 64 --output runs/demo_metrics

The row "copy the input" stands in every table: a number means nothing without it.
"""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from commands.run import run_command, show_progress
from metrics.comparison.compare import ComparisonRequest, compare
from metrics.comparison.pairs import GROUPINGS, PairSelection, parse_episodes
from metrics.comparison.parallel import default_cache_folder
from metrics.comparison.table_formats import print_table
from metrics.measures.columns import CHOOSABLE, DEFAULT_MEASURES, parse_measures, with_as_published

BUNDLED_PROBE = Path(__file__).resolve().parents[1] / "bundled_model" / "probe.safetensors"


def add_data_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Options of all commands over a data folder."""
    add = parser.add_argument
    add("--data", type=Path, required=required, help="prepared folder with the true frames")
    add("--split", choices=("train", "val", "test"), help="split of --data; all pairs by default")
    add("--episodes", help="episodes of --data, such as 64-79; all by default")
    add("--group", choices=tuple(GROUPINGS), default="task", help="what a table has rows for")
    add("--size", type=int, help="resize predictions and frames to SIZE x SIZE")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what the training baselines learn from."""
    parser.add_argument("--train-data", type=Path, help="prepared folder that the training baselines learn from")
    parser.add_argument("--train-split", default="train", help="split of --train-data, or 'all' (default: train)")
    parser.add_argument("--train-episodes", help="episodes of --train-data, such as 0-63")


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Options of all commands over predictions."""
    parser.add_argument("--predictions", nargs="*", default=[], metavar="[NAME=]FOLDER", help="predicted frames")
    parser.add_argument("--match", type=Path, help="csv (pair_id or sample, file) that says which picture is whose")
    parser.add_argument("--output", type=Path, help="folder for the table's files")


def read_data_options(options: argparse.Namespace) -> PairSelection:
    """The pairs that --data, --split and --episodes select."""
    return PairSelection(options.data, options.split, parse_episodes(options.episodes))


def read_training_options(options: argparse.Namespace) -> PairSelection | None:
    """The pairs that the training options select; None without --train-data."""
    if options.train_data is None:
        return None
    split = None if options.train_split == "all" else options.train_split
    return PairSelection(options.train_data, split, parse_episodes(options.train_episodes))


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.compute_metrics", description=__doc__.split("\n")[0])
    add_data_options(parser)
    add_prediction_options(parser)
    add_training_options(parser)
    add = parser.add_argument
    add("--train-means", type=Path, help="npz file of metrics.baselines, instead of training data")
    add("--measures", default=",".join(DEFAULT_MEASURES), help=f"comma-separated: {', '.join(CHOOSABLE)}")
    add(
        "--convention",
        choices=("proper", "as_published"),
        default="proper",
        help="as_published adds the papers' columns beside the proper ones",
    )
    add("--weights", type=Path, help="weights for LPIPS, CLIP, FID (default: torch.hub's folder, then checkpoints/)")
    add(
        "--probe",
        type=Path,
        nargs="?",
        const=BUNDLED_PROBE,
        metavar="FILE",
        help="columns in centimetres, by a probe of metrics.probe (alone: the bundled one, for this simulator)",
    )
    add("--workers", type=int, help="processes; one a processor by default")
    add("--cache", type=Path, default=default_cache_folder(), help="folder in which results are kept")
    add("--no-cache", action="store_true", help="measure everything again, keep nothing")
    return parser


def read_request(argv: list[str] | None = None) -> tuple[ComparisonRequest, Path | None]:
    """The request of a command line, and the output folder."""
    options = make_parser().parse_args(argv)
    measures = parse_measures(options.measures)
    request = ComparisonRequest(
        data=read_data_options(options),
        predictions=tuple(options.predictions),
        match=options.match,
        group=options.group,
        size=options.size,
        measures=with_as_published(measures) if options.convention == "as_published" else measures,
        training=read_training_options(options),
        train_means=options.train_means,
        weights=options.weights,
        probe=options.probe,
        workers=options.workers,
        cache=None if options.no_cache else options.cache,
        command=shlex.join(["python", "-m", "metrics.compute_metrics", *(sys.argv[1:] if argv is None else argv)]),
    )
    return request, options.output


def run(argv: list[str] | None = None) -> None:
    """Print the table, write it where --output says."""
    request, output = read_request(argv)
    comparison = compare(request, lambda scores, total: show_progress(scores, "scoring", total))
    files = []
    if output:
        from metrics.reports.comparison_files import write_comparison  # noqa: PLC0415 - matplotlib, for no worker

        files = write_comparison(comparison, output)
    print_table(Console(), comparison.table, f"{request.data.folder}, {len(comparison.pairs)} pairs")
    sys.stdout.write("".join(f"{file}\n" for file in files))


def main(argv: list[str] | None = None) -> int:
    """Score and write; returns the exit code."""
    return run_command("metrics.compute_metrics", lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
