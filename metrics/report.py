"""One HTML page about runs: tables that sort, best and worst cases that zoom, curves, and how it was measured.

    python -m metrics.report --runs logs/a logs/b --output report/

The page, report/index.html, needs no network and no other file. A run is a folder of main.py, or the output of
metrics.compute_metrics, or both in one (see metrics.reports.runs).
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import matplotlib
import numpy as np

from commands.errors import UserError
from commands.run import run_command
from formats.atomic import write_text
from metrics.comparison.table import ALL, Row, ScoreTable
from metrics.comparison.table_formats import format_estimate
from metrics.measures.columns import MEASURES
from metrics.reports.cases import Pictures, find_cases, open_pictures
from metrics.reports.html import embed_figure, embed_picture, make_facts, make_notes, make_page, make_section
from metrics.reports.run_figures import make_run_figures, note_figures
from metrics.reports.runs import Results, Run, read_runs

FIGURES_WITH_PICTURES = ("grid", "consecutive")  # the page shows its own cases, which zoom


def make_report(runs: list[Run], command: str) -> str:
    """The page about some runs."""
    matplotlib.rcParams["svg.hashsalt"] = "report"  # equal input, equal page
    sections = [make_section("Runs", _summary(runs))]
    sections += [section for run in runs for section in _run_sections(run)]
    sections.append(make_section("This page", make_facts({"command": command})))
    return make_page("Predicted future frames: " + ", ".join(run.label for run in runs), sections)


def _summary(runs: list[Run]) -> str:
    """A row a run and system: the mean over all pairs, copy-the-input among them."""
    rows = []
    for run in runs:
        for results in run.results:
            name = f"{run.label} / {results.name}" if len(run.results) > 1 else run.label
            rows += [replace(row, group=name) for row in results.table.rows if row.group == ALL]
    if not rows:
        return "<p>No run has a table; score its predictions with metrics.compute_metrics.</p>"
    keys = tuple(key for key in MEASURES if any(key in row.estimates for row in rows))
    return _table(ScoreTable(keys, tuple(rows)), "run")


def _run_sections(run: Run) -> Iterator[str]:
    facts = _facts(run)
    if facts:
        yield make_section(f"{run.label}: how it was made", make_facts(facts))
    for results in run.results:
        name = run.label if len(run.results) == 1 else f"{run.label}, {results.name}"
        parts = [_table(results.table, "task"), make_notes(results.table.notes)]
        parts.append(make_facts(_measurement(results)))
        yield make_section(f"{name}: scores", *parts)
        if results.pairs and results.systems:
            yield make_section(f"{name}: best, median and worst cases", _cases(results))
    figures = [
        embed_figure(figure, name.replace("_", " "))
        for name, figure in make_run_figures(run)
        if not name.startswith(FIGURES_WITH_PICTURES)
    ]
    if figures:
        drawn = f'<div class="figures">{"".join(figures)}</div>'
        yield make_section(f"{run.label}: curves", drawn, make_notes(note_figures(run)))


def _facts(run: Run) -> dict[str, object]:
    """Folder, steps, and of every part of the training its command, commit, device and seconds."""
    facts: dict[str, object] = {"folder": run.folder}
    if "steps" in run.facts:
        facts["optimiser steps"] = run.facts["steps"]
    for number, part in enumerate(run.facts.get("parts", ()), start=1):
        said = ", ".join(f"{key} {part[key]}" for key in ("command", "commit", "device", "seconds") if key in part)
        facts[f"part {number}"] = said
    return facts | {f"benchmark: {key}": _text(value) for key, value in run.benchmark.items()}


def _text(value: object) -> object:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value


def _measurement(results: Results) -> dict[str, object]:
    """Command, data, and for each system what all its predictions share: weights hash, seed, steps, scales."""
    provenance = results.table.provenance
    facts = {
        key: provenance[key]
        for key in ("command", "commit", "data", "split", "episodes", "size")
        if provenance.get(key)
    }
    for name, system in provenance.get("systems", {}).items():
        settings = ", ".join(
            f"{key} {value}" for key, value in system.get("settings", {}).items() if key not in ("pair_id", "file")
        )
        facts[name] = f"{system.get('folder')}: {settings or 'nothing is said about its making (no predictions.jsonl)'}"
    return facts


def _table(table: ScoreTable, first_heading: str) -> str:
    """A sortable table."""
    headings = "".join(f"<th>{escape(MEASURES[key].heading)}</th>" for key in table.keys)
    rows = "".join(
        f'<tr><td>{escape(row.group)}</td><td class="text">{escape(row.name)}</td>'
        f"{''.join(_cell(table, row, key) for key in table.keys)}"
        f'<td data-value="{row.num_pairs}">{row.count_text}</td></tr>'
        for row in table.rows
    )
    head = f'<tr><th>{escape(first_heading)}</th><th class="text">row</th>{headings}<th>n</th></tr>'
    return f'<div class="scroll"><table class="sortable"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _cell(table: ScoreTable, row: Row, key: str) -> str:
    estimate = row.estimates.get(key)
    if estimate is None or not estimate.n:
        return '<td data-value="">-</td>'
    mean, _, interval = format_estimate(key, estimate).partition(" ")
    marked = ' class="best"' if table.is_best(row, key) else ""
    interval = f' <span class="interval">{interval}</span>' if interval else ""
    return f'<td{marked} data-value="{estimate.mean!r}">{mean}{interval}</td>'


def _cases(results: Results) -> str:
    try:
        pictures = open_pictures(results)
    except (UserError, OSError) as error:
        return f"<p>Pictures are not shown: {escape(str(error))}</p>"
    row = results.systems[-1]
    groups = sorted({entry["group"] for entry in results.pairs})
    return "".join(f"<h3>{escape(group)}</h3>{_group_cases(results, pictures, row, group)}" for group in groups)


def _group_cases(results: Results, pictures: Pictures, row: str, group: str) -> str:
    cells = ["<span></span>", *(f"<b>{escape(name)}</b>" for name in ("input", row, "truth", "difference"))]
    for case in find_cases(results, pictures, row, group):
        difference = np.abs(case.prediction.astype(np.int16) - case.truth).astype(np.uint8)
        cells.append(
            f"<span><b>{case.kind}</b><br>{escape(_describe(case.entry))}<br><small>{escape(case.entry['pair_id'])}</small></span>"
        )
        for name, pixels in (
            ("input", case.source),
            (row, case.prediction),
            ("truth", case.truth),
            ("absolute difference of prediction and truth", difference),
        ):
            cells.append(embed_picture(pixels, f"{case.entry['pair_id']}: {name}. {case.entry['instruction']}"))
    return f'<div class="cases">{"".join(cells)}</div>'


def _describe(entry: dict) -> str:
    """PSNR and SSIM of a line of pairs.jsonl."""
    known = [(MEASURES[key], float(entry[key])) for key in ("psnr", "ssim") if key in entry]
    return ", ".join(f"{measure.title} {value:.{measure.digits}f}" for measure, value in known)


def main(argv: list[str] | None = None) -> int:
    """Write the page and print its path; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metrics.report", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", nargs="+", required=True, metavar="[LABEL=]FOLDER", help="run folders")
    parser.add_argument("--output", type=Path, required=True, help="folder for index.html")
    options = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "metrics.report", *(sys.argv[1:] if argv is None else argv)])

    def run() -> None:
        write_text(options.output / "index.html", make_report(read_runs(options.runs), command))
        sys.stdout.write(f"{options.output / 'index.html'}\n")

    return run_command("python -m metrics.report", run)


if __name__ == "__main__":
    sys.exit(main())
