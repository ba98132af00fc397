"""Run folders, read: tables, curves, facts.

    <run>/metrics.csv                   written while training: step, epoch and a column a curve
    <run>/metrics-000.csv, ...          the same of earlier parts of a resumed run
    <run>/run.json                      commands, commits, devices, steps, seconds
    <run>/config.yaml                   the composed config
    <run>/**/table.json, pairs.jsonl    written by metrics.compute_metrics --output <run>/metrics
    <run>/benchmark.json                parameters, seconds_15_frames, ...; without it, what edit_cli wrote beside the
                                        predictions of the first table, which table.json keeps

Everything is optional, so the output folder of metrics.compute_metrics alone is a run too.
"""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
import yaml

from commands.errors import MissingFileError, UserError
from formats.atomic import read_json, read_jsonl
from formats.predictions_folder import BENCHMARK
from formats.run_folder import RunFolder
from metrics.comparison.bootstrap import Estimate, estimate_mean, estimate_quantile
from metrics.comparison.predictions import parse_named_folder
from metrics.comparison.rows import COPY, UPPER_BOUND, kind_by_name
from metrics.comparison.table import ALL, ScoreTable, ceiling_of
from metrics.comparison.table_formats import SCORE_AGAIN, read_table
from metrics.measures.columns import MEASURES

TABLE_DEPTH = 3  # folders below the run in which tables are looked for
NUMBERED = re.compile(r"(epoch|step)s?[-=_ ]*0*(\d+)")
ENTRY = {  # types of a line of pairs.jsonl, beside the measures
    "row": str, "pair_id": str, "group": str, "instruction": str, "episode": int | str | None,
    "source_index": int | None, "target_index": int | None,
}  # fmt: skip


class RunFile(TypedDict, total=False):
    """Content of run.json."""

    steps: int
    parts: list[dict[str, str | int | float | None]]


@dataclass(frozen=True)
class Curve:
    """Values of one column of metrics.csv where it has any."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Results:
    """One table.json with the scores pair by pair beside it."""

    name: str  # path of its folder in the run, "." where it is the run
    folder: Path
    table: ScoreTable
    pairs: tuple[dict, ...]

    @property
    def systems(self) -> list[str]:
        """Rows that are predictions, neither baselines nor upper bounds."""
        return [row for row in self._described if self.kinds[row] != UPPER_BOUND]

    @property
    def upper_bounds(self) -> list[str]:
        """Rows that are reconstructions of the truth."""
        return [row for row in self._described if self.kinds[row] == UPPER_BOUND]

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each row, by name."""
        return {name: kind_by_name(name) for name in self._described} | {r.name: r.kind for r in self.table.rows}

    @property
    def benchmark(self) -> dict:
        """Seconds and memory of the last system's predictions, where they were recorded."""
        return self._described[self.systems[-1]].get("benchmark", {}) if self.systems else {}

    @property
    def _described(self) -> dict[str, dict]:
        """Provenance of the rows that came from folders, by name."""
        return self.table.provenance.get("systems", {})

    def entries(self, row: str, group: str = ALL) -> list[dict]:
        """Lines of pairs.jsonl of a row, of one group or all."""
        return [entry for entry in self.pairs if entry["row"] == row and group in (ALL, entry["group"])]

    def copied(self, row: str, group: str = ALL) -> list[dict]:
        """Lines of the copied input, on the pairs that a row has."""
        same = {entry["pair_id"] for entry in self.entries(row, group)}
        return [entry for entry in self.entries(COPY, group) if entry["pair_id"] in same]


def checkpoint_tables(run: "Run") -> dict[str, list[tuple[int, Results, str]]]:
    """Scores of several checkpoints of one run, by "epoch" or "step": (number, table, row), in order of the numbers.

    The number stands in the name of a table's folder (metrics/epoch-10, metrics/epoch=50) or of a row (epoch-10).
    """
    found: dict[str, list[tuple[int, Results, str]]] = {}
    for results in run.results:
        of_folder = NUMBERED.search(results.name)
        rows = results.systems[-1:] if of_folder else results.systems
        for row in rows:
            if match := of_folder or NUMBERED.search(row):
                found.setdefault(match.group(1), []).append((int(match.group(2)), results, row))
    return {unit: sorted(tables, key=lambda table: table[0]) for unit, tables in found.items()}


def estimate_entries(entries: list[dict], key: str) -> Estimate | None:
    """Mean, or quantile, and interval of a measure over lines of pairs.jsonl; None where no line has it."""
    quantile, name = (MEASURES[key].quantile, MEASURES[key].value_key) if key in MEASURES else (None, key)
    entries = [entry for entry in entries if name in entry]
    if not entries:
        return None
    values = np.array([[finite(entry[name], name)] for entry in entries])
    groups = [entry["group"] for entry in entries]
    episodes = [(e["group"], e["pair_id"] if e["episode"] is None else e["episode"]) for e in entries]
    if quantile is not None:
        estimate = estimate_quantile(values[:, 0], quantile, groups, episodes)
    else:
        (estimate,) = estimate_mean(values, groups, episodes)
    return estimate if estimate.n else None


def finite(value: float | str, key: str = "psnr") -> float:
    """A value of pairs.jsonl, which has inf and nan as text; inf counts as in the tables."""
    number = float(value)
    return ceiling_of(key) if number == float("inf") else number


@dataclass(frozen=True)
class Run:
    """Content of a run folder."""

    label: str
    folder: Path
    results: tuple[Results, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    benchmark: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)


def main_results(run: Run) -> Results | None:
    """The first table that has a system in it, the least deep one."""
    return next((results for results in run.results if results.systems), None)


def read_run(argument: str) -> Run:
    """Read "folder" or "label=folder".

    Raises:
        MissingFileError: if the folder is absent, or holds nothing of a run.
        UserError: if one of its files is damaged.
    """
    label, folder = parse_named_folder(argument)
    if not folder.is_dir():
        raise MissingFileError(
            f"no run folder {folder}. Train one with main.py, or score one with metrics.compute_metrics."
        )
    results = tuple(_read_results(folder, path) for path in _find_tables(folder))
    run = Run(
        label=label or folder.resolve().name,
        folder=folder,
        results=results,
        curves=_read_curves([*sorted(folder.glob("metrics-*.csv")), folder / "metrics.csv"]),
        facts=_read_object(folder / "run.json", RunFile),
        benchmark=_read_object(folder / BENCHMARK) or next(filter(None, (table.benchmark for table in results)), {}),
        config=_read_config(RunFolder(folder).config),
    )
    if not (run.results or run.curves or run.facts or run.benchmark):
        raise MissingFileError(
            f"{folder} holds no table.json, metrics.csv, run.json or benchmark.json: nothing to show. "
            f"Score its predictions with: python -m metrics.compute_metrics ... --output {folder / 'metrics'}"
        )
    return run


def read_runs(arguments: list[str]) -> list[Run]:
    """Read runs; two of one label are refused.

    Raises:
        MissingFileError, UserError: as `read_run`, or for a label used twice.
    """
    runs = [read_run(argument) for argument in arguments]
    labels = [run.label for run in runs]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"two runs are called '{twice}': name them, --runs a=<folder> b=<folder>.")
    return runs


def _find_tables(folder: Path) -> list[Path]:
    found = [path for depth in range(TABLE_DEPTH + 1) for path in folder.glob("*/" * depth + "table.json")]
    return sorted(found, key=lambda path: (len(path.parts), path))  # a run's own before those of its parts


def _read_results(run: Path, path: Path) -> Results:
    table, pairs = read_table(path), path.with_name("pairs.jsonl")
    entries = tuple(read_jsonl(pairs, mend=SCORE_AGAIN)) if pairs.is_file() else ()
    for number, entry in enumerate(entries, start=1):
        _check_entry(entry, f"{pairs}, line {number}")
    return Results(str(path.parent.relative_to(run)), path.parent, table, entries)


def _check_entry(entry: dict, where: str) -> None:
    """Refuse a line of pairs.jsonl with values of other types; raises UserError."""
    wrong = [key for key, kind in ENTRY.items() if key in entry and not isinstance(entry[key], kind)]
    wrong += [key for key in entry.keys() & MEASURES.keys() if as_number(entry[key]) is None]
    wrong += [key for key in ("row", "pair_id", "group") if key not in entry]
    if wrong:
        raise UserError(f"{where} has no sound value of {wrong[0]}; {SCORE_AGAIN}.")


def _read_object(path: Path, kind: type = dict) -> dict:
    return read_json(path, kind) if path.is_file() else {}


def _read_config(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({error}); it should be the config that main.py wrote.") from error
    return config if isinstance(config, dict) else {}


def _read_curves(paths: list[Path]) -> dict[str, Curve]:
    """Columns of Lightning's metrics.csv: most cells are empty, a line holds what was logged together."""
    points: dict[str, dict[float, float]] = {}
    for path in paths:
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                _add_points(row, points)
    return {name: Curve(*map(tuple, zip(*sorted(column.items()), strict=True))) for name, column in points.items()}


def _add_points(row: dict[str, str], points: dict[str, dict[float, float]]) -> None:
    """Take a line's values; a step that was trained again after a resume replaces the old one."""
    step = as_number(row.get("step"))
    for column, text in row.items():
        value = as_number(text)
        if column not in ("step", None) and value is not None and step is not None:
            points.setdefault(column, {})[step] = value


def as_number(text: object) -> float | None:
    """A number, or a number as text; None for anything else."""
    try:
        return float(text) if isinstance(text, str | int | float) and text != "" else None
    except (ValueError, OverflowError):
        return None
