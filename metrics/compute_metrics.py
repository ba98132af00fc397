"""Compares folders of predicted frames with the truth; prints and writes a table with baselines.

    python -m metrics.compute_metrics --data data/sim --split test --predictions runs/demo --train-data data/sim \
        --size 64 --output runs/demo_metrics

The row "copy the input" stands in every table: a number means nothing without it.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from commands.errors import UserError
from commands.processes import parse_shard
from commands.run import run_command, show_progress
from formats.cache import default_cache_folder
from metrics.comparison.compare import ComparisonRequest, compare, score_shard
from metrics.comparison.pairs import GROUPINGS, PairSelection, parse_episodes
from metrics.comparison.scoring import PairScore
from metrics.comparison.table_formats import print_table
from metrics.measures.columns import CHOOSABLE, DEFAULT_MEASURES, parse_measures, with_as_published

BUNDLED_PROBE = Path(__file__).resolve().parents[1] / "bundled_model" / "probe.safetensors"


def add_data_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Options of all commands over a data folder."""
    add = parser.add_argument
    add("--data", type=Path, required=required, help="prepared folder with the true frames")
    add("--split", choices=("train", "val", "test"), help="split of --data; all pairs by default")
    add("--episodes", help="episodes of --data, such as 64-79; all by default")
    add("--size", type=int, help="resize predictions and frames to SIZE x SIZE")


def add_group_option(parser: argparse.ArgumentParser) -> None:
    """Option of the commands whose rows are by group."""
    parser.add_argument("--group", choices=tuple(GROUPINGS), default="task", help="what a table has rows for")


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
    add_group_option(parser)
    add_prediction_options(parser)
    add_training_options(parser)
    add = parser.add_argument
    add("--train-means", type=Path, help="npz file of metrics.baselines, instead of training data")
    add(
        "--measures",
        help=f"comma-separated: {', '.join(CHOOSABLE)} (default: {','.join(DEFAULT_MEASURES)}, and LPIPS where the "
        "weights of a trunk are at hand)",
    )
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
    add("--shard", type=parse_shard, metavar="i/n", help="only measure the i-th of n shares of the pairs, i from 0")
    add("--merge", action="store_true", help="make the table from the shares that are in --output")
    return parser


def read_request(argv: Sequence[str] | None = None) -> tuple[ComparisonRequest, argparse.Namespace]:
    """The request of a command line, and all options.

    Raises:
        UserError: if shares have no folder, or are to be measured and put together at once.
    """
    argv = sys.argv[1:] if argv is None else argv
    options = make_parser().parse_args(argv)
    if options.merge and options.shard is not None:
        raise UserError("--shard and --merge: first every --shard, then --merge once.")
    if (options.merge or options.shard is not None) and options.output is None:
        raise UserError(
            "--shard and --merge need --output, the folder that the shares lie in; give all of them the same."
        )
    measures = parse_measures(options.measures) if options.measures else DEFAULT_MEASURES
    request = ComparisonRequest(
        data=read_data_options(options),
        predictions=tuple(options.predictions),
        match=options.match,
        group=options.group,
        size=options.size,
        measures=with_as_published(measures) if options.convention == "as_published" else measures,
        lpips_at_hand=not options.measures,
        training=read_training_options(options),
        train_means=options.train_means,
        weights=options.weights,
        probe=options.probe,
        workers=options.workers,
        cache=None if options.no_cache else options.cache,
        command=shlex.join(["python", "-m", "metrics.compute_metrics", *(word for word in argv if word != "--merge")]),
        shards=options.output if options.merge else None,
    )
    return request, options


def run(argv: list[str] | None = None) -> None:
    """Print the table, write it where --output says."""
    request, options = read_request(argv)

    def progress(scores: Iterator[list[PairScore]], total: int) -> Iterable[list[PairScore]]:
        return show_progress(scores, "scoring", total)

    if options.shard is not None:
        sys.stdout.write(f"{score_shard(request, options.shard, options.output, progress)}\n")
        return
    comparison = compare(request, progress)
    files = []
    if options.output:
        from metrics.reports.comparison_files import write_comparison  # noqa: PLC0415 - matplotlib, for no worker

        files = write_comparison(comparison, options.output)
    print_table(Console(), comparison.table, f"{request.data.folder}, {len(comparison.pairs)} pairs")
    sys.stdout.write("".join(f"{file}\n" for file in files))


def main(argv: list[str] | None = None) -> int:
    """Score and write; returns the exit code."""
    return run_command("python -m metrics.compute_metrics", lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
