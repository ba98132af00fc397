"""Compares folders of predicted frames with the truth; prints and writes a table with baselines.

    python -m metrics.compute_metrics --data data/sim --split test --predictions runs/demo --train-data data/sim \
        --size 64 --output runs/demo_metrics

The row "copy the input" stands in every table: a number means nothing without it.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from commands.run import run_command, show_progress
from formats.atomic import write_text
from formats.prepared_folder import FramePair
from metrics.comparison.compare import Comparison, ComparisonRequest, compare
from metrics.comparison.pairs import GROUPINGS, PairSelection, parse_episodes
from metrics.comparison.parallel import default_cache_folder
from metrics.comparison.rows import MODEL, UPPER_BOUND
from metrics.comparison.scoring import Candidate, PairScore
from metrics.comparison.table_formats import print_table, to_csv, to_json, to_markdown
from metrics.measures.columns import CHOOSABLE, DEFAULT_MEASURES, parse_measures, with_as_published
from metrics.reports.figures import GridColumn, make_grid, save_figure


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
    add("--workers", type=int, help="processes; one a processor by default")
    add("--cache", type=Path, default=default_cache_folder(), help="folder in which results are kept")
    add("--no-cache", action="store_true", help="measure everything again, keep nothing")
    return parser


def read_request(argv: list[str] | None = None) -> tuple[ComparisonRequest, Path | None]:
    """What the command line asks for, checked, and the output folder."""
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
        workers=options.workers,
        cache=None if options.no_cache else options.cache,
        command=shlex.join(["python", "-m", "metrics.compute_metrics", *(sys.argv[1:] if argv is None else argv)]),
    )
    return request, options.output


def write_comparison(comparison: Comparison, output: Path) -> list[Path]:
    """Write table.csv, .json, .md, pairs.jsonl and grid.png, .pdf; returns the files."""
    by_id = {pair.pair_id: pair for pair in comparison.pairs}
    texts = {
        "table.csv": to_csv(comparison.table),
        "table.json": to_json(comparison.table),
        "table.md": to_markdown(comparison.table),
        "pairs.jsonl": "".join(pair_line(score, by_id[score.pair_id]) for score in comparison.scores),
    }
    for name, text in texts.items():
        write_text(output / name, text)
    files = [output / name for name in texts]
    row_names, columns = make_comparison_grid(comparison)
    return files + (save_figure(make_grid(row_names, columns), output / "grid") if columns else [])


def pair_line(score: PairScore, pair: FramePair) -> str:
    """One line of pairs.jsonl; infinite and unknown values as text."""
    entry = {
        "row": score.row,
        "pair_id": score.pair_id,
        "group": score.group,
        "episode": pair.episode,
        "source_index": pair.source_index,
        "target_index": pair.target_index,
        "instruction": pair.instruction,
        "remarks": list(score.remarks),
        **{key: value if np.isfinite(value) else str(value) for key, value in score.values.items()},
    }
    return json.dumps(entry, ensure_ascii=False) + "\n"


def make_comparison_grid(comparison: Comparison) -> tuple[list[str], list[GridColumn]]:
    """Row names and a column per group: the pair of median PSNR of the table's last row, not a picked one."""
    last = comparison.scorer.candidates[-1]
    models, bounds = (
        [candidate for candidate in comparison.scorer.candidates if candidate.kind == kind]
        for kind in (MODEL, UPPER_BOUND)
    )
    systems = [*models, *bounds] or [last]  # reconstructions stand next to the truth
    by_id = {pair.pair_id: pair for pair in comparison.pairs}
    columns = []
    for group in sorted({score.group for score in comparison.scores}):
        scores = [score for score in comparison.scores if score.group == group and score.row == last.name]
        if scores:
            ordered = sorted(scores, key=lambda score: (score.values.get("psnr", 0.0), score.pair_id))
            columns.append(_make_column(comparison, systems, group, by_id[ordered[len(ordered) // 2].pair_id]))
    return ["input", *(system.name for system in systems), "truth"], columns


def _make_column(comparison: Comparison, systems: Sequence[Candidate], group: str, pair: FramePair) -> GridColumn:
    source, truth = comparison.scorer.read_frames(pair)
    frames = [comparison.scorer.predict_frame(system, pair, source) for system in systems]
    psnr = {s.row: s.values["psnr"] for s in comparison.scores if s.pair_id == pair.pair_id and "psnr" in s.values}
    captions = [f"{psnr[system.name]:.1f} dB" if system.name in psnr else "" for system in systems]
    episode = "" if pair.episode is None else f"episode {pair.episode}"
    return GridColumn(group.replace("_", " "), (source, *frames, truth), (episode, *captions, ""))


def main(argv: list[str] | None = None) -> int:
    """Print the table, write it where --output says; returns the exit code."""

    def run() -> None:
        request, output = read_request(argv)
        comparison = compare(request, lambda scores, total: show_progress(scores, "scoring", total))
        files = write_comparison(comparison, output) if output else []
        console = Console()
        print_table(console, comparison.table, f"{request.data.folder}, {len(comparison.pairs)} pairs")
        for note in comparison.table.notes:
            console.print(f"- {note}", markup=False, highlight=False)
        for file in files:
            sys.stdout.write(f"{file}\n")

    return run_command("metrics.compute_metrics", run)


if __name__ == "__main__":
    sys.exit(main())
