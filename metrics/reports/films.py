"""A sheet of films: what happened in the first episodes of each task, at evenly spaced moments."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from commands.errors import UserError
from formats.rollouts_folder import Rollout, film_path
from formats.video import VideoDecoder
from metrics.reports.figures import CELL_INCHES, GridColumn, make_grid

MOMENTS = 8
WIDE_MOMENTS, WIDE_INCHES = 4, 4.8  # of films that show several pictures side by side


def draw_films(folder: Path, rollouts: Sequence[Rollout], per_task: int) -> Figure:
    """A row for each of the first `per_task` seeds of each task, never chosen by outcome.

    Args:
        folder: rollouts folder with films of those seeds.
        rollouts: its episodes, by task, then seed.
        per_task: films of each task.

    Raises:
        UserError: if a film is missing or damaged.
    """
    by_task: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        by_task.setdefault(rollout.task, []).append(rollout)
    names, rows = [], []
    for rollout in (rollout for own in by_task.values() for rollout in own[:per_task]):
        names.append(f"{rollout.task} seed {rollout.seed} {'success' if rollout.success else 'failure'}")
        rows.append(_read_moments(film_path(folder, rollout)))
    columns = [
        GridColumn("", tuple(row[moment][0] for row in rows), tuple(row[moment][1] for row in rows))
        for moment in range(min(map(len, rows), default=0))
    ]
    return make_grid(names, columns, WIDE_INCHES if len(columns) == WIDE_MOMENTS else CELL_INCHES)


def _read_moments(path: Path) -> list[tuple[np.ndarray, str]]:
    """Pictures and their times at evenly spaced moments, the first and the last among them."""
    if not path.is_file():
        raise UserError(f"there is no film {path}: play with run_policy.py --videos, at least as many as are wanted.")
    film = VideoDecoder(path)
    try:
        tall, wide, _ = film.read_frame(0).shape
        moments = MOMENTS if wide < 2 * tall else WIDE_MOMENTS
        numbers = np.linspace(0, film.length - 1, moments).round().astype(int)
        return [(film.read_frame(int(number)), f"{number / (film.rate or 1):.1f} s") for number in numbers]
    finally:
        film.close()
