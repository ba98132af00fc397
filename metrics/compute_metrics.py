"""Compares folders of predicted frames with the truth; prints and writes a table with baselines.

    python -m metrics.compute_metrics --data data/sim --split test --predictions runs/demo --train-data data/sim \
        --size 64 --output runs/demo_metrics

The row "copy the input" stands in every table: a number means nothing without it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from ldm.data.atomic import write_text
from ldm.data.manifest import FramePair
from metrics.baselines import make_baselines
from metrics.convention import AS_PUBLISHED_GAIN
from metrics.figures import GridColumn, make_grid, save_figure
from metrics.measures import DEFAULT_MEASURES, MEASURES, with_as_published
from metrics.motion import MOTION_THRESHOLD
from metrics.pairs import GROUPINGS, data_root, episode_of, parse_episodes, read_pairs
from metrics.picture import read_pixels
from metrics.predictions import Predictions, match_predictions
from metrics.scoring import Candidate, PairScore, Scorer
from metrics.table import ScoreTable, make_table
from metrics.table_formats import to_csv, to_json, to_markdown, to_rich

MAX_LISTED = 5  # names of missing or unmatched pictures in a note; the json file has all


@dataclass(frozen=True)
class Comparison:
    """Scores of all rows on all pairs, and the table made of them."""

    pairs: list[FramePair]
    scorer: Scorer
    scores: list[PairScore]
    table: ScoreTable


def compare(options: argparse.Namespace, console: Console | None = None) -> Comparison:
    """Read, match, score and tabulate, as the command line says."""
    grouping = GROUPINGS[options.group]
    folder = data_root(options.data)
    pairs = read_pairs(folder, options.split, parse_episodes(options.episodes))
    train_folder, train_pairs = _read_train(options)
    systems = _match_all(options, folder, pairs)
    baselines = make_baselines(train_folder, train_pairs, options.train_means, options.size, grouping)
    candidates: tuple[Candidate, ...] = (*baselines, *systems)
    keys = with_as_published(options.measures) if options.convention == "as_published" else tuple(options.measures)
    scorer = Scorer(folder, candidates, grouping, keys, options.size)
    quiet = console is None or not console.is_terminal
    progress = track(
        scorer.score_pairs(pairs), "scoring", total=len(pairs), console=console, transient=True, disable=quiet
    )
    scores = [score for of_pair in progress for score in of_pair]
    wanted: dict[str, int] = {}
    for pair in pairs:
        wanted[grouping(pair)] = wanted.get(grouping(pair), 0) + 1
    notes = _notes(options, pairs, train_pairs, systems)
    table = make_table(
        scores, keys, [candidate.name for candidate in candidates], wanted, notes, _provenance(options, systems)
    )
    return Comparison(pairs, scorer, scores, table)


def _read_train(options: argparse.Namespace) -> tuple[Path | None, list[FramePair] | None]:
    if options.train_data is None:
        return None, None
    folder = data_root(options.train_data)
    split = None if options.train_split == "all" else options.train_split
    return folder, read_pairs(folder, split, parse_episodes(options.train_episodes))


def _match_all(options: argparse.Namespace, data: Path, pairs: list[FramePair]) -> list[Predictions]:
    systems, taken = [], set()
    others = read_pairs(data) if options.predictions else []
    for argument in options.predictions:
        name, found, folder = argument.partition("=")
        path = Path(folder if found else argument)
        name = name if found else path.name or path.resolve().name
        if name in taken:
            raise ValueError(
                f"two predictions folders are called '{name}': give them names, --predictions a={path} ..."
            )
        taken.add(name)
        systems.append(match_predictions(path, pairs, name, options.match, options.size, others))
    return systems


def _notes(
    options: argparse.Namespace,
    pairs: list[FramePair],
    train_pairs: list[FramePair] | None,
    systems: Sequence[Predictions],
) -> list[str]:
    size = f"{options.size}x{options.size} (area average)" if options.size else "the pictures' own size"
    notes = [
        f"Compared at {size}; n pairs; brackets: 95% interval of the mean, resampling episodes.",
    ]
    if any(key.endswith("_motion") for key in options.measures):
        notes.append(
            f"In motion: where any channel of the truth differs from the input by more than {MOTION_THRESHOLD} of 255."
        )
    if options.convention == "as_published":
        notes.append(
            "As published: images in [0, 1] scored with data_range 255, as papers of this field did; it adds "
            f"{AS_PUBLISHED_GAIN:.2f} dB to any PSNR and lifts any SSIM towards 1."
        )
    if train_pairs is None:
        omitted = "the nearest training input" if options.train_means else "the two training baselines"
        notes.append(f"Without --train-data the table omits {omitted}.")
    else:
        leaked = len({episode_of(pair) for pair in pairs} & {episode_of(pair) for pair in train_pairs})
        if leaked:
            notes.append(
                f"LEAK: {leaked} of the episodes are also in the training data; the training rows look them up."
            )
    if any(pair.episode is None for pair in pairs):
        notes.append(
            "Episodes are unknown (no index.jsonl, no index.csv): the intervals resample pairs and are too narrow."
        )
    for system in systems:
        notes += _notes_on_matching(system)
    return notes


def _notes_on_matching(system: Predictions) -> list[str]:
    notes = []
    if system.missing:
        notes.append(
            f"{system.name}: {len(system.files)} pairs scored, {len(system.missing)} have no picture: "
            f"{_shorten(system.missing)}."
        )
    if system.unmatched:
        notes.append(f"{system.name}: {len(system.unmatched)} pictures match no pair: {_shorten(system.unmatched)}.")
    return notes


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _provenance(options: argparse.Namespace, systems: Sequence[Predictions]) -> dict:
    return {
        "data": str(options.data),
        "split": options.split,
        "episodes": options.episodes,
        "train_data": str(options.train_data) if options.train_data else None,
        "size": options.size,
        "motion_threshold": MOTION_THRESHOLD,
        "systems": {
            system.name: {
                "folder": str(system.folder),
                "missing": list(system.missing),
                "unmatched": list(system.unmatched),
                "settings": _common_settings(system.records),
            }
            for system in systems
        },
    }


def _common_settings(records: dict[str, dict]) -> dict:
    """What all lines of predictions.jsonl agree on: sampler, steps, scales, weights."""
    entries = list(records.values())
    if not entries:
        return {}
    return {key: value for key, value in entries[0].items() if all(entry.get(key) == value for entry in entries)}


def make_comparison_grid(comparison: Comparison) -> tuple[list[str], list[GridColumn]]:
    """Row names and a column per group: the pair of median PSNR of the last row of the table, not a picked one."""
    scorer, last = comparison.scorer, comparison.scorer.candidates[-1]
    systems = [candidate for candidate in scorer.candidates if isinstance(candidate, Predictions)] or [last]
    by_id = {pair.pair_id: pair for pair in comparison.pairs}
    columns = []
    for group in sorted({score.group for score in comparison.scores}):
        scores = [score for score in comparison.scores if score.group == group and score.row == last.name]
        if scores:
            ordered = sorted(scores, key=lambda score: (score.values.get("psnr", 0.0), score.pair_id))
            columns.append(_grid_column(scorer, systems, group, by_id[ordered[len(ordered) // 2].pair_id]))
    return ["input", *(system.name for system in systems), "truth"], columns


def _grid_column(scorer: Scorer, systems: Sequence[Candidate], group: str, pair: FramePair) -> GridColumn:
    source = read_pixels(pair.source_path(scorer.folder), scorer.size)
    truth = read_pixels(pair.target_path(scorer.folder), scorer.size)
    frames = [system.predict_frame(pair, source) for system in systems]
    values = {score.row: score.values for score in scorer.score_pair(pair)}
    captions = [f"{values[s.name]['psnr']:.1f} dB" if "psnr" in values.get(s.name, {}) else "" for s in systems]
    episode = "" if pair.episode is None else f"episode {pair.episode}"
    return GridColumn(group.replace("_", " "), (source, *frames, truth), (episode, *captions, ""))


def write_comparison(comparison: Comparison, output: Path) -> list[Path]:
    """Write table.csv, .json, .md, pairs.jsonl and the grid; returns the files."""
    texts = {
        "table.csv": to_csv(comparison.table),
        "table.json": to_json(comparison.table),
        "table.md": to_markdown(comparison.table),
        "pairs.jsonl": "".join(_pair_line(score) for score in comparison.scores),
    }
    for name, text in texts.items():
        write_text(output / name, text)
    files = [output / name for name in texts]
    row_names, columns = make_comparison_grid(comparison)
    return files + (save_figure(make_grid(row_names, columns), output / "grid") if columns else [])


def _pair_line(score: PairScore) -> str:
    entry = asdict(score)
    entry["values"] = {key: value if np.isfinite(value) else str(value) for key, value in score.values.items()}
    return json.dumps(entry, ensure_ascii=False) + "\n"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.compute_metrics", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with the true frames")
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of --data; all pairs by default")
    parser.add_argument("--episodes", help="episodes of --data, such as 64-79; all by default")
    parser.add_argument("--predictions", nargs="*", default=[], metavar="[NAME=]FOLDER", help="predicted frames")
    parser.add_argument("--match", type=Path, help="csv (pair_id or sample, file) that says which picture is whose")
    parser.add_argument("--train-data", type=Path, help="prepared folder that the training baselines learn from")
    parser.add_argument("--train-split", default="train", help="split of --train-data, or 'all' (default: train)")
    parser.add_argument("--train-episodes", help="episodes of --train-data, such as 0-63")
    parser.add_argument("--train-means", type=Path, help="npz file of metrics.baselines, instead of training data")
    parser.add_argument("--group", choices=tuple(GROUPINGS), default="task", help="what a table has lines for")
    parser.add_argument("--size", type=int, help="resize predictions and frames to SIZE x SIZE")
    parser.add_argument("--measures", type=_parse_measures, default=DEFAULT_MEASURES, help=f"of {','.join(MEASURES)}")
    parser.add_argument(
        "--convention",
        choices=("proper", "as_published"),
        default="proper",
        help="as_published adds the columns of the papers beside the proper ones",
    )
    parser.add_argument("--output", type=Path, help="folder for table.csv, .json, .md, pairs.jsonl and the grid")
    return parser.parse_args(argv)


def _parse_measures(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    unknown = [key for key in keys if key not in MEASURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no measure '{unknown[0]}'; there are {', '.join(MEASURES)}")
    return keys


def main(argv: list[str] | None = None) -> int:
    """Print the table, write it where --output says; returns the exit code."""
    options = parse_arguments(argv)
    console, errors = Console(), Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        comparison = compare(options, errors)
        files = write_comparison(comparison, options.output) if options.output else []
    except (ValueError, OSError) as error:
        errors.print(str(error), markup=False)
        return 2
    console.print(to_rich(comparison.table, f"{options.data}, {len(comparison.pairs)} pairs"))
    for note in comparison.table.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    for file in files:
        console.print(str(file), markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
