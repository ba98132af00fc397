"""Figures: the grid of input, prediction and truth. Matplotlib without a display."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from formats.atomic import atomic_path

CELL_INCHES = 1.6
FIGURE_SUFFIXES = (".png", ".pdf")


@dataclass(frozen=True)
class GridColumn:
    """One pair of the grid."""

    title: str
    pictures: tuple[np.ndarray | None, ...]  # uint8 (H, W, 3), one a row; None leaves the cell empty
    captions: tuple[str, ...] = ()  # one a row, "" for none


def make_grid(row_names: Sequence[str], columns: Sequence[GridColumn]) -> Figure:
    """Rows of pictures (current frame, predictions, truth) under a column per task, captions below the cells."""
    num_rows, num_columns = len(row_names), len(columns)
    captioned = any(any(column.captions) for column in columns)
    height = (CELL_INCHES + (0.16 if captioned else 0.0)) * num_rows + 0.3
    figure = Figure(figsize=(CELL_INCHES * num_columns + 1.0, height), layout="constrained")
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
                axis.set_title(column.title, fontsize=9)
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


def _wrap(name: str, width: int = 14) -> str:
    lines = [""]
    for word in name.replace("_", " ").split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
