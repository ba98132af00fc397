"""The papers' own tables with our runs in them.

    python -m metrics.paper_tables afp --runs logs/a --output tables/
    python -m metrics.paper_tables acp --runs "Fine-tuning 1=logs/a" "Training 2=logs/b"

A cell of a table of scores has three numbers where they exist: printed in the paper / as-published convention of our
run / proper. A run takes the rows of the recipe that is its label. Under the paper's rows stands the baseline that
copies the input, on the same pairs. With --output also the figures: curves, histograms, ablation, grids.
"""

import argparse
import csv
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from commands.errors import UserError
from formats.atomic import write_text
from metrics.comparison.rows import COPY
from metrics.comparison.table import ALL
from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.reports.paper_numbers import ALIASES, PAPERS, FactSheet, Paper, PrintedScore, ScoreSheet
from metrics.reports.run_figures import note_figures, write_figures
from metrics.reports.runs import Results, Run, read_runs

ABSENT = "-"
INTERVAL = re.compile(r" \[.*?\]")


@dataclass(frozen=True)
class PaperTable:
    """A table laid out, all cells as text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def lay_out(paper: Paper, runs: list[Run]) -> list[PaperTable]:
    """Every table of a paper, with the numbers of our runs where a run has the recipe's label.

    Raises:
        ValueError: if a run's label is no recipe of the paper.
    """
    recipes = paper.recipes
    if len(recipes) == 1 and len(runs) == 1:
        by_recipe = {recipes[0]: runs[0]}
    else:
        by_recipe = {run.label: run for run in runs}
        unknown = next((label for label in by_recipe if label not in recipes), None)
        if unknown is not None:
            names = ", ".join(f'"{recipe}=<folder>"' for recipe in recipes)
            raise UserError(f"the run '{unknown}' is no recipe of {paper.name}; give --runs {names}.")
    return [
        _lay_out_scores(paper, sheet, by_recipe)
        if isinstance(sheet, ScoreSheet)
        else _lay_out_facts(paper, sheet, by_recipe)
        for sheet in paper.sheets
    ]


def _lay_out_scores(paper: Paper, sheet: ScoreSheet, by_recipe: dict[str, Run]) -> PaperTable:
    rows, copied = [], {}
    for row in sheet.rows:
        results = _results(by_recipe.get(row.recipe))
        rows.append((row.name, *_score_cells(row, results, None)))
        if results:
            copied.setdefault(
                (row.task, id(results)), (f"{COPY}, {row.task or 'mean'}", *_score_cells(row, results, COPY))
            )
    headings = ("", "SSIM: printed", "as published", "proper", "PSNR dB: printed", "as published", "proper", "n")
    return PaperTable(f"{paper.name}, table {sheet.number}: {sheet.title}", headings, (*rows, *copied.values()))


def _score_cells(row: PrintedScore, results: Results | None, baseline: str | None) -> tuple[str, ...]:
    """Printed, as-published and proper SSIM, then PSNR, then n; a baseline has nothing printed."""
    printed = (ABSENT, ABSENT) if baseline else (f"{row.ssim:g}", f"{row.psnr:g}")
    if results is None:
        return (printed[0], ABSENT, ABSENT, printed[1], ABSENT, ABSENT, ABSENT)
    name = baseline or _own_row(results)
    group = _group_of(results, row.task)
    ssim, ssim_published, psnr = (results.estimate(name, group, key) for key in ("ssim", "ssim_as_published", "psnr"))
    return (
        printed[0],
        _cell(ssim_published, 4),
        _cell(ssim, 4),
        printed[1],
        f"{psnr['mean'] + AS_PUBLISHED_GAIN:.2f}" if psnr else ABSENT,
        _cell(psnr, 2),
        str(psnr["n"]) if psnr else ABSENT,
    )


def _cell(estimate: dict | None, digits: int) -> str:
    if estimate is None:
        return ABSENT
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.{digits}f}–{estimate['high']:.{digits}f}]"
    return f"{estimate['mean']:.{digits}f}{interval}"


def _results(run: Run | None) -> Results | None:
    """The first table that has a system in it, the least deep one."""
    return next((results for results in run.results if results.systems), None) if run else None


def _own_row(results: Results) -> str:
    return results.systems[-1]


def _group_of(results: Results, task: str | None) -> str:
    groups = {line["group"] for line in results.table["lines"]}
    if task is None or task in groups:
        return task or ALL
    return next((group for group in groups if ALIASES.get(group) == task), task)


def _lay_out_facts(paper: Paper, sheet: FactSheet, by_recipe: dict[str, Run]) -> PaperTable:
    title = f"{paper.name}, table {sheet.number}: {sheet.title}"
    if sheet.own_row is not None:
        sources = sheet.own_row.split("|")
        own = [(f"ours: {label}", *(find_fact(run, source) for source in sources)) for label, run in by_recipe.items()]
        return PaperTable(title, sheet.headings, (*sheet.rows, *own))
    headings = (*sheet.headings, *(f"ours: {label}" for label in by_recipe))
    rows = [
        (*row, *(find_fact(run, source) for run in by_recipe.values()))
        for row, source in zip(sheet.rows, sheet.ours, strict=True)
    ]
    return PaperTable(title, headings, tuple(rows))


def find_fact(run: Run, source: str | None) -> str:
    """What a run says under a source of `FactSheet`; ABSENT where it says nothing."""
    if source is None:
        return ABSENT
    kind, _, key = source.partition(":")
    if kind == "config":
        return _text(_descend(run.config, key.split(".")))
    if kind in ("curve", "last"):
        values = run.curves[key].values if key in run.curves else ()
        return _text((max(values) if kind == "curve" else values[-1]) if values else None)
    results = _results(run)
    if kind == "score":
        estimate = results.estimate(_own_row(results), ALL, key) if results else None
        return f"{estimate['mean']:.4g}" if estimate else ABSENT
    if kind == "data":
        return Path(results.table["provenance"]["data"]).name if results else ABSENT
    return _text({"run": run.facts, "part": _describe_parts(run), "benchmark": run.benchmark}[kind].get(key))


def _describe_parts(run: Run) -> dict:
    """The last part of a run; the seconds of all of them."""
    parts = run.facts.get("parts") or [{}]
    seconds = [part["seconds"] for part in parts if part.get("seconds") is not None]
    return {**parts[-1], "seconds": sum(seconds) if seconds else None}


def _descend(node: object, path: list[str]) -> object:
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _text(value: object) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def to_markdown(paper: Paper, tables: list[PaperTable]) -> str:
    """All tables of a paper under their titles."""
    out = [f"# {paper.title} ({paper.name})", "", f"Convention of the printed scores: {paper.convention}.", ""]
    for table in tables:
        out += [f"## {table.title}", "", "| " + " | ".join(table.headings) + " |", "|" + "---|" * len(table.headings)]
        out += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return "\n".join(out)


def to_csv(tables: list[PaperTable]) -> str:
    """All tables, one after the other, each line beginning with the table's title."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for table in tables:
        writer.writerow(["table", *table.headings])
        writer.writerows([table.title, *row] for row in table.rows)
    return stream.getvalue()


def to_rich(table: PaperTable) -> RichTable:
    """A table for the terminal, without intervals, for which there is no room."""
    rich_table = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in table.headings:
        rich_table.add_column(heading, overflow="fold")
    for row in table.rows:
        rich_table.add_row(*(INTERVAL.sub("", cell) for cell in row))
    return rich_table


def main(argv: list[str] | None = None) -> int:
    """Print a paper's tables; write them and the figures where --output says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metrics.paper_tables", description=__doc__.split("\n")[0])
    parser.add_argument("paper", choices=tuple(PAPERS))
    parser.add_argument("--runs", nargs="*", default=[], metavar="[RECIPE=]FOLDER", help="run folders of ours")
    parser.add_argument("--output", type=Path, help="folder for tables.md, tables.csv and figures")
    options = parser.parse_args(argv)
    console, errors = Console(), Console(stderr=True, highlight=False, soft_wrap=True)
    paper = PAPERS[options.paper]
    try:
        runs = read_runs(options.runs)
        tables = lay_out(paper, runs)
        files = []
        if options.output:
            write_text(options.output / "tables.md", to_markdown(paper, tables))
            write_text(options.output / "tables.csv", to_csv(tables))
            files = write_figures(runs, options.output)
    except (ValueError, OSError) as error:
        errors.print(str(error), markup=False)
        return 2
    for table in tables:
        console.print(to_rich(table))
    console.print(f"Convention of the printed scores: {paper.convention}.", highlight=False, markup=False)
    for note in (note for run in runs if options.output for note in note_figures(run)):
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    for file in files:
        console.print(str(file), highlight=False, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
