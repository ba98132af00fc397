"""Figures: grids of pictures, loss curves, histograms, scores against horizon or epochs. Matplotlib without a display.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; every line also has its own dash or marker,
so that a print in grey can be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from formats.atomic import atomic_path
from metrics.reports.runs import Curve

CELL_INCHES = 1.6
FIGURE_SUFFIXES = (".png", ".pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")
SMOOTHING = 50  # points of the running mean: the acp paper's
NUM_BINS = 30  # of a histogram
NAME_LETTERS = 14  # of a line of a row's name beside a grid
TITLE_LETTERS = 22  # the same, above a column


@dataclass(frozen=True)
class Series:
    """Points with 95% intervals; low and high are nan where there is no interval."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def smooth(values: Sequence[float], window: int = SMOOTHING) -> np.ndarray:
    """Running mean over up to `window` values ending at each point; the first points average what there is.

    Values that are not finite are left out; nan where no other is in the window.
    """
    array = np.asarray(values, dtype=float)
    finite = np.isfinite(array)
    sums, counts = (_last(np.cumsum(part), window) for part in (np.where(finite, array, 0.0), finite))
    return np.divide(sums, counts, out=np.full(len(array), np.nan), where=counts > 0)


def _last(totals: np.ndarray, window: int) -> np.ndarray:
    """Sum of the last `window` values, from running totals."""
    return totals - np.concatenate([np.zeros(min(window, len(totals))), totals[:-window]])[: len(totals)]


def plot_curves(curves: Mapping[str, Curve], y_label: str, smoothed: bool = True, log_scale: bool = False) -> Figure:
    """Curves against optimiser steps: raw in the background, their running mean in front.

    A curve that training has smoothed itself (train/loss_smoothed, over single losses) is drawn as it is.
    """
    figure, axis = _new_figure("optimiser step", y_label)
    for i, (name, curve) in enumerate(curves.items()):
        style = {"color": COLOURS[i % len(COLOURS)]}
        many = smoothed and len(curve.values) > SMOOTHING and not name.endswith("smoothed")
        axis.plot(curve.steps, curve.values, linewidth=0.6 if many else 1.6, alpha=0.35 if many else 1.0, **style,
                  linestyle="-" if many else DASHES[i % len(DASHES)], label=None if many else name,
                  marker="" if len(curve.values) > 1 else "o")  # fmt: skip
        if many:
            label = f"{name} (running mean of {SMOOTHING} logged points)"
            axis.plot(
                curve.steps,
                smooth(curve.values),
                linewidth=1.6,
                linestyle=DASHES[i % len(DASHES)],
                label=label,
                **style,
            )
    if log_scale:
        axis.set_yscale("log")
    axis.legend(fontsize=8, frameon=False)
    return figure


def plot_histograms(values: Mapping[str, Sequence[float]], x_label: str) -> Figure:
    """Histograms of several rows in one set of bins; unknown and infinite values are left out."""
    figure, axis = _new_figure(x_label, "pairs")
    finite = {name: np.array([v for v in row if np.isfinite(v)]) for name, row in values.items()}
    known = np.concatenate([*finite.values(), np.array([])])
    bins = np.histogram_bin_edges(known, NUM_BINS) if known.size else np.linspace(0, 1, NUM_BINS)
    for i, (name, row) in enumerate(finite.items()):
        colour = COLOURS[i % len(COLOURS)]
        axis.hist(row, bins, histtype="stepfilled", alpha=0.35, color=colour, hatch=HATCHES[i % len(HATCHES)])
        axis.hist(row, bins, histtype="step", color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.4,
                  label=f"{name} (n = {len(row)}, mean {row.mean():.4g})" if len(row) else name)  # fmt: skip
    axis.legend(fontsize=8, frameon=False)
    return figure


def plot_series(series: Sequence[Series], x_label: str, y_label: str) -> Figure:
    """Means with intervals against epochs, horizon or whatever was varied."""
    figure, axis = _new_figure(x_label, y_label)
    for i, line in enumerate(series):
        mean, low, high = (np.array(part, dtype=float) for part in (line.mean, line.low, line.high))
        errors = np.nan_to_num(np.stack([mean - low, high - mean]))
        axis.errorbar(line.x, mean, errors, label=line.name, color=COLOURS[i % len(COLOURS)], capsize=3, markersize=5,
                      linestyle=DASHES[i % len(DASHES)], marker=MARKERS[i % len(MARKERS)], linewidth=1.4)  # fmt: skip
    axis.legend(fontsize=8, frameon=False)
    return figure


def _new_figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.5)
    return figure, axis


@dataclass(frozen=True)
class GridColumn:
    """One pair of the grid."""

    title: str
    pictures: tuple[np.ndarray | None, ...]  # uint8 (H, W, 3), one a row; None leaves the cell empty
    captions: tuple[str, ...] = ()  # one a row, "" for none


def make_grid(row_names: Sequence[str], columns: Sequence[GridColumn], width: float = CELL_INCHES) -> Figure:
    """Rows of pictures, `width` inches each: current frame, predictions, truth. A column per task, captions below."""
    num_rows, num_columns = len(row_names), len(columns)
    captioned = any(any(column.captions) for column in columns)
    shapes = [picture.shape for column in columns for picture in column.pictures if picture is not None]
    cell = width * max((tall / wide for tall, wide, _ in shapes), default=1.0)
    height = (cell + (0.16 if captioned else 0.0)) * num_rows + 0.3
    figure = Figure(figsize=(width * num_columns + 1.0, height), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for j, column in enumerate(columns):
        for i, picture in enumerate(column.pictures):
            axis = axes[i, j]
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if picture is not None:
                axis.imshow(picture, interpolation="nearest")
            if i < len(column.captions) and column.captions[i]:
                axis.set_xlabel(column.captions[i], fontsize=7, labelpad=2)
            if i == 0:
                axis.set_title(_wrap(column.title, TITLE_LETTERS), fontsize=9)
            if j == 0:
                axis.set_ylabel(_wrap(row_names[i]), fontsize=9, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def save_figure(figure: Figure, path: Path, suffixes: Sequence[str] = FIGURE_SUFFIXES) -> list[Path]:
    """Write a figure beside `path` in each format, whole or not at all; returns the files."""
    files = []
    for suffix in suffixes:
        file = path.with_suffix(suffix)
        with atomic_path(file) as draft:
            figure.savefig(draft, dpi=150)
        files.append(file)
    return files


def _wrap(name: str, letters: int = NAME_LETTERS) -> str:
    lines = [""]
    for word in name.replace("_", " ").split():
        if lines[-1] and len(lines[-1]) + len(word) >= letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
