"""The papers' figures, of our runs.

loss, learning rate, GPU      metrics.csv of each run                    (all papers)
histograms of PSNR and SSIM   pairs.jsonl                                (light_future, figures 1 and 2)
ablation over epochs          tables or rows named epoch-10, epoch=50     (light_future, tables 2 and 3)
score by horizon              pairs at two horizons or more
3x3 grid                      rows of tasks, columns input, predictions (a reconstruction, too), truth
runs side by side             one median pair of each task that all have (acp, figures 4 and 5)
consecutive predictions       three frames in a row                      (light_future, figure 7)
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from commands.errors import UserError
from metrics.comparison.rows import COPY
from metrics.measures.columns import MEASURES
from metrics.reports.cases import Pictures, choose_cases, find_consecutive, open_pictures
from metrics.reports.figures import (
    GridColumn,
    Series,
    make_grid,
    plot_curves,
    plot_histograms,
    plot_series,
    save_figure,
)
from metrics.reports.runs import Curve, Results, Run, checkpoint_tables, estimate_entries, finite, main_results

log = logging.getLogger(__name__)

SCORES = ("psnr", "ssim")
NUM_HORIZONS = 8  # points of a horizon curve where more horizons occur
NamedFigures = Iterator[tuple[str, Figure]]


def make_run_figures(run: Run) -> NamedFigures:
    """All figures that a run has the data for, with file names."""
    makers: tuple[Callable[[Run], NamedFigures], ...] = (
        _curve_figures, _histograms, _ablation, _horizon_curves, _picture_grids,
    )  # fmt: skip
    for make in makers:
        yield from make(run)


def write_figures(runs: list[Run], output: Path) -> list[Path]:
    """Write every figure of every run as png and pdf; returns the files."""
    files = []
    for run in runs:
        for name, figure in make_run_figures(run):
            files += save_figure(figure, output / f"{_file_name(run.label)}_{name}")
    shared = make_shared_grid(runs)
    return files + (save_figure(shared, output / "runs_side_by_side") if shared else [])


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label)


def _curve_figures(run: Run) -> NamedFigures:
    losses = {name: curve for name, curve in run.curves.items() if "loss" in name and "epoch" not in name}
    if losses:
        yield "loss", plot_curves(losses, "loss", log_scale=all(min(curve.values) > 0 for curve in losses.values()))
    memory, utilisation = _gpu_curves(run, "mem"), _gpu_curves(run, "util")
    if memory:
        yield "gpu_memory", plot_curves(memory, "GPU memory (GiB)", smoothed=False)
    if utilisation:
        yield "gpu_utilisation", plot_curves(utilisation, "GPU utilisation (%)", smoothed=False)


def _gpu_curves(run: Run, part: str) -> dict[str, Curve]:
    return {name: curve for name, curve in run.curves.items() if "gpu" in name and part in name}


def note_figures(run: Run) -> list[str]:
    """One sentence for each figure that a run lacks, with the reason."""
    notes = []
    missing = [what for what, part in (("memory", "mem"), ("utilisation", "util")) if not _gpu_curves(run, part)]
    if run.curves and missing:
        notes.append(
            f"{run.label}: no figure of GPU {' and '.join(missing)}, since this run logged none (trained on a CPU?)."
        )
    tables = [results for results in _with_pairs(run) if results.systems]
    if tables and not any(find_consecutive(results, results.systems[-1]) for results in tables):
        notes.append(
            f"{run.label}: no figure of consecutive predictions (light_future, figure 7), since no three scored source "
            "frames follow each other; prepare test data with dataset_tools.prepare_dataset --horizon 100 --stride 1 "
            "--all-test, predict and score them."
        )
    return notes


def _histograms(run: Run) -> NamedFigures:
    for results in _with_pairs(run):
        for key in SCORES:
            values = {row: _values(results, row, key) for row in (COPY, *results.systems)}
            values = {row: numbers for row, numbers in values.items() if numbers}
            if values:
                yield _suffixed(f"histogram_{key}", results), plot_histograms(values, _axis_title(key))


def _ablation(run: Run) -> NamedFigures:
    """Scores against epochs or steps, where several checkpoints of the run were scored (see `checkpoint_tables`)."""
    for unit, tables in checkpoint_tables(run).items():
        if len(tables) < 2:
            continue
        for key in SCORES:
            lines = {
                COPY: [(number, results.copied(row)) for number, results, row in tables],
                "prediction": [(number, results.entries(row)) for number, results, row in tables],
            }
            series = [_series(name, points, key) for name, points in lines.items()]
            series = [line for line in series if line.x]
            yield f"ablation_{key}_by_{unit}", plot_series(series, f"{unit}s of training", _axis_title(key))


def _series(name: str, points: list[tuple[float, list[dict]]], key: str) -> Series:
    """Mean and interval of the lines of pairs.jsonl at each x."""
    found = [(x, estimate) for x, entries in points if (estimate := estimate_entries(entries, key))]
    bounds = ([getattr(estimate, part) for _, estimate in found] for part in ("mean", "low", "high"))
    return Series(name, tuple(x for x, _ in found), *(tuple(bound) for bound in bounds))


def _horizon_curves(run: Run) -> NamedFigures:
    for results in _with_pairs(run):
        horizons = sorted(_horizon(entry) for entry in results.pairs if _horizon(entry) is not None)
        if len(set(horizons)) < 2:
            continue
        edges = np.unique(np.quantile(horizons, np.linspace(0, 1, NUM_HORIZONS + 1)))
        if len(set(horizons)) <= NUM_HORIZONS:
            edges = np.append(np.unique(horizons), max(horizons) + 1)
        for key in SCORES:
            series = [_horizon_series(results, row, key, edges) for row in (COPY, *results.systems)]
            yield _suffixed(f"horizon_{key}", results), plot_series(series, "horizon (frames)", _axis_title(key))


def _horizon(entry: dict) -> int | None:
    if None in (entry.get("source_index"), entry.get("target_index")):
        return None
    return entry["target_index"] - entry["source_index"]


def _horizon_series(results: Results, row: str, key: str, edges: np.ndarray) -> Series:
    """Mean of the pairs in each half-open interval of horizons; the last one is closed."""
    members = [entry for entry in results.pairs if entry["row"] == row and key in entry and _horizon(entry) is not None]
    horizons = np.array([_horizon(entry) for entry in members])
    bins = np.clip(np.digitize(horizons, edges) - 1, 0, len(edges) - 2)
    points = []
    for index in np.unique(bins):
        chosen = [entry for entry, position in zip(members, bins, strict=True) if position == index]
        points.append((float(horizons[bins == index].mean()), chosen))
    return _series(row, points, key)


def _picture_grids(run: Run) -> NamedFigures:
    for results in _with_pairs(run):
        if not results.systems:
            continue
        try:
            pictures = open_pictures(results)
        except (UserError, OSError) as error:
            log.warning("no grids of %s: %s", results.folder, error)
            continue
        main = results.systems[-1]
        groups = sorted({entry["group"] for entry in results.pairs})
        chosen = [choose_cases(results, main, group).get("median") for group in groups]
        shown = [(group, entry["pair_id"]) for group, entry in zip(groups, chosen, strict=True) if entry]
        if shown:
            predicted = [(system, system, pictures) for system in (*results.systems, *results.upper_bounds)]
            yield _suffixed("grid", results), _grid_of_groups(shown, predicted)
        entries = find_consecutive(results, main)
        if entries:
            frames = [pictures.read_frames(entry["pair_id"]) for entry in entries]
            columns = [GridColumn(f"input, frame {entries[0]['source_index']}", (frames[0][0], None))]
            for entry, (_, truth) in zip(entries, frames, strict=True):
                prediction = pictures.read_prediction(main, entry["pair_id"])
                columns.append(GridColumn(f"frame {entry['target_index']}", (truth, prediction)))
            yield _suffixed("consecutive", results), make_grid(["truth", main], columns)


def make_shared_grid(runs: list[Run]) -> Figure | None:
    """Results of several runs side by side on pairs that all of them have; None where there are no such."""
    scored = [(run.label, results) for run in runs if (results := main_results(run))]
    if len(scored) < 2:
        return None
    ids = [{entry["pair_id"] for entry in results.entries(results.systems[-1])} for _, results in scored]
    common = set.intersection(*ids)
    last = replace(scored[-1][1], pairs=tuple(entry for entry in scored[-1][1].pairs if entry["pair_id"] in common))
    cases = {group: choose_cases(last, last.systems[-1], group) for group in sorted({e["group"] for e in last.pairs})}
    shown = [(group, case["median"]["pair_id"]) for group, case in cases.items() if "median" in case]
    if not shown:
        return None
    try:
        predicted = [(label, results.systems[-1], open_pictures(results)) for label, results in scored]
    except (UserError, OSError) as error:
        log.warning("no grid of the runs side by side: %s", error)
        return None
    return _grid_of_groups(shown, predicted)


def _grid_of_groups(shown: list[tuple[str, str]], predicted: list[tuple[str, str, Pictures]]) -> Figure:
    """A row a (group, pair id): input, a column a (title, row of the table, its pictures), truth."""
    frames = [predicted[-1][2].read_frames(pair_id) for _, pair_id in shown]
    columns = [GridColumn("input", tuple(source for source, _ in frames))]
    for title, row, pictures in predicted:
        columns.append(GridColumn(title, tuple(pictures.read_prediction(row, pair_id) for _, pair_id in shown)))
    columns.append(GridColumn("truth", tuple(truth for _, truth in frames)))
    return make_grid([group for group, _ in shown], columns)


def _with_pairs(run: Run) -> list[Results]:
    return [results for results in run.results if results.pairs]


def _values(results: Results, row: str, key: str) -> list[float]:
    return [finite(entry[key], key) for entry in results.entries(row) if key in entry]


def _suffixed(name: str, results: Results) -> str:
    return name if results.name in (".", "metrics") else f"{name}_{_file_name(results.name)}"


def _axis_title(key: str) -> str:
    measure = MEASURES[key]
    return f"{measure.title} ({measure.unit})" if measure.unit else measure.title
