"""Temporal consistency of predicted films: do successive frames change as those of the truth do?

    python -m prediction.view_frames --ckpt logs/joint_stage_3 --data data/policy --seconds 1 2 3 4 --output films
    python -m metrics.consistency --data films/head_camera/pairs --split test \\
        --predictions temporal=films/head_camera/joint --output tables/consistency

A film is what is predicted from one frame at several times: pairs of one source. See metrics.measures.temporal for the
columns; copying the input has no change at all.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from commands.errors import UserError
from commands.run import run_command
from formats.atomic import write_text
from formats.prepared_folder import FramePair
from formats.tables import to_csv, to_markdown
from metrics.comparison.bootstrap import Estimate, estimate_mean
from metrics.comparison.pairs import episode_of, group_by_task
from metrics.comparison.predictions import Predictions, match_all
from metrics.comparison.resizing import read_pixels
from metrics.comparison.table_formats import format_mean
from metrics.compute_metrics import add_data_options, add_prediction_options, read_data_options
from metrics.measures.temporal import measure_consistency

COLUMNS = {"change": "Change", "true_change": "Change of the truth", "ratio": "Ratio", "error": "Error of the change ↓"}
NOTE = (
    "In grey levels of 256, means over pixels and successive frames, brackets: 95% interval that resamples episodes. "
    "Ratio: above 1 a film flickers, below 1 it stands still."
)


def films_of(pairs: Sequence[FramePair]) -> list[list[FramePair]]:
    """Pairs of one source with at least two times, in the order of time."""
    films: dict[tuple, list[FramePair]] = {}
    for pair in pairs:
        if pair.source_index is not None and pair.target_index is not None:
            films.setdefault((*episode_of(pair), pair.source_index), []).append(pair)
    return [sorted(film, key=lambda pair: pair.target_index) for film in films.values() if len(film) > 1]


def measure_films(
    films: Sequence[Sequence[FramePair]], root: Path, system: Predictions, size: int | None
) -> dict[str, Estimate]:
    """Columns of one system, over the films of which it predicted every frame."""
    rows, groups, episodes = [], [], []
    for film in films:
        paths = [system.files.get(pair.pair_id) for pair in film]
        if None in paths:
            continue
        truth = np.stack([read_pixels(pair.target_path(root), size) for pair in film])
        predicted = np.stack([read_pixels(path, size) for path in paths])
        found = measure_consistency(predicted, truth)
        rows.append([getattr(found, key) for key in COLUMNS])
        groups.append(group_by_task(film[0]))
        episodes.append(episode_of(film[0]))
    if not rows:
        raise UserError(f"{system.name} has no film whole: each frame of a source's pairs is to be predicted.")
    return dict(zip(COLUMNS, estimate_mean(np.array(rows, dtype=float), groups, episodes), strict=True))


def run(argv: Sequence[str] | None = None) -> None:
    """Print the table; write it where --output says."""
    parser = argparse.ArgumentParser(prog="python -m metrics.consistency", description=__doc__.splitlines()[0])
    add_data_options(parser)
    add_prediction_options(parser)
    options = parser.parse_args(argv)
    selection = read_data_options(options)
    pairs = selection.read()
    films = films_of(pairs)
    if not films:
        raise UserError(
            f"{options.data} has no films: no source with pairs at two times; make them with --seconds 1 2 3."
        )
    systems = match_all(tuple(options.predictions), selection.root, pairs, options.match)
    if not systems:
        raise UserError("--predictions: none; give [NAME=]FOLDER of predicted frames.")
    measured = {system.name: measure_films(films, selection.root, system, options.size) for system in systems}
    cells = [
        [name, *(format_mean(estimate, 2) for estimate in columns.values()), str(columns["change"].n)]
        for name, columns in measured.items()
    ]
    text = f"{to_markdown(['row', *COLUMNS.values(), 'films'], cells, range(1, 6))}\n\n{NOTE}\n"
    if options.output:
        write_text(options.output / "consistency.md", text)
        numbers = [[name, *(e.mean for e in columns.values())] for name, columns in measured.items()]
        write_text(options.output / "consistency.csv", to_csv(["row", *COLUMNS], numbers))
    sys.stdout.write(text)


def main(argv: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    return run_command("python -m metrics.consistency", lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
