"""The papers' own tables with our runs in them.

    python -m metrics.paper_tables afp --runs logs/a --output tables/
    python -m metrics.paper_tables acp --runs "Fine-tuning 1=logs/a" "Training 2=logs/b"
    python -m metrics.paper_tables light_future --runs "stage 1=logs/a"       (tables of epoch-10, epoch-50, ...)
    python -m metrics.paper_tables acp --commands                             (how its rows are filled)

A table of scores has the printed number, then ours in the as-published convention and in the proper one. A run takes
the rows of the recipe that is its label. Under the paper's rows stands the baseline that copies the input, on the pairs
that the run predicts. With --output also the figures: curves, histograms, ablation, grids.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from commands.errors import UserError
from commands.run import run_command
from formats.atomic import write_text
from formats.tables import to_csv as csv_table
from formats.tables import to_markdown as markdown_table
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.rows import COPY
from metrics.comparison.table import ALL
from metrics.comparison.table_formats import format_mean, print_columns, print_notes
from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.reports.paper_numbers import ALIASES, Paper, PrintedScore, Sheet, read_papers
from metrics.reports.run_facts import ABSENT, as_text, descend, find_fact
from metrics.reports.run_figures import note_figures, write_figures
from metrics.reports.runs import Results, Run, checkpoint_tables, estimate_entries, main_results, read_runs

INTERVAL = re.compile(r" \[.*?\]")
EPOCHS = re.compile(r"(.*), (\d+) epochs")  # recipes that are checkpoints of one run
SCORES = ("SSIM printed", "SSIM as published", "SSIM proper", "PSNR printed", "PSNR as published", "PSNR proper")


@dataclass(frozen=True)
class PaperTable:
    """A table laid out, all cells as text."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ScoredRow:
    """The row of a run's table that takes a recipe's place."""

    results: Results
    row: str

    def entries(self, task: str | None, *, copied: bool = False) -> list[dict]:
        """Lines of pairs.jsonl of a task, or of all; of the copied input on the same pairs instead."""
        groups = {entry["group"] for entry in self.results.pairs}
        named = (group for group in sorted(groups) if task in (group, ALIASES.get(group)))
        group = ALL if task is None else next(named, task)
        return self.results.copied(self.row, group) if copied else self.results.entries(self.row, group)


def lay_out(paper: Paper, runs: list[Run]) -> list[PaperTable]:
    """Every table of a paper, with the numbers of our runs where a run has the recipe's label.

    Raises:
        UserError: if a run's label is no recipe of the paper, or its config is another recipe's.
    """
    labels = {run.label: run for run in runs}
    if len(paper.recipes) == len(runs) == 1:
        labels = {paper.recipes[0]: runs[0]}
    for label, run in labels.items():
        _check_recipe(paper, label, run)
    scored = {recipe: found for recipe in paper.recipes if (found := _find_scores(recipe, labels))}
    return [_lay_out(paper, sheet, labels, scored) for sheet in paper.sheets]


def _check_recipe(paper: Paper, label: str, run: Run) -> None:
    """Refuse a label that no row has, and a run whose config is not the paper's."""
    stages = [match.group(1) for recipe in paper.recipes if (match := EPOCHS.fullmatch(recipe))]
    if label not in (*paper.recipes, *stages):
        names = ", ".join(f'"{recipe}=<folder>"' for recipe in dict.fromkeys([*paper.recipes, *stages]))
        raise UserError(f"the run '{label}' is no recipe of {paper.name}; give --runs {names}.")
    if not run.config:
        return
    absent = next((key for key in paper.has if not descend(run.config, key)), None)
    strange = next((key for key in paper.lacks if descend(run.config, key)), None)
    if absent or strange:
        reason = f"its config has no {absent}" if absent else f"its config has {strange}"
        raise UserError(f"{run.folder} was trained by another recipe than {paper.name}'s: {reason}; leave it out.")


def _find_scores(recipe: str, labels: Mapping[str, Run]) -> ScoredRow | None:
    """The scores of the run with a recipe's label; of "stage 1, 10 epochs" those of epoch 10 of the run "stage 1"."""
    if recipe in labels:
        results = main_results(labels[recipe])
        return ScoredRow(results, results.systems[-1]) if results else None
    match = EPOCHS.fullmatch(recipe)
    if match is None or match.group(1) not in labels:
        return None
    tables = checkpoint_tables(labels[match.group(1)]).get("epoch", [])
    return next((ScoredRow(results, row) for number, results, row in tables if number == int(match.group(2))), None)


def _lay_out(paper: Paper, sheet: Sheet, labels: Mapping[str, Run], scored: Mapping[str, ScoredRow]) -> PaperTable:
    title = f"{paper.name}, {sheet.number}: {sheet.title}"
    if sheet.scores:
        return PaperTable(f"{title} (printed: {sheet.convention})", ("", *SCORES, "n"), _score_rows(sheet, scored))
    if sheet.gains:
        return PaperTable(f"{title} (printed: {sheet.convention})", ("", *SCORES), _gain_rows(sheet, scored))
    if sheet.own_rows is not None:
        own = [
            (f"{name}: {label}", *(find_fact(run, source) for source in sources))
            for label, run in labels.items()
            for name, sources in sheet.own_rows.items()
        ]
        return PaperTable(title, sheet.headings, (*sheet.facts, *own))
    ours = any(sheet.sources) * tuple(labels.items())
    rows = [
        (*row, *(find_fact(run, source) for _, run in ours))
        for row, source in zip(sheet.facts, sheet.sources, strict=True)
    ]
    return PaperTable(title, (*sheet.headings, *(f"ours: {label}" for label, _ in ours)), tuple(rows))


def _score_rows(sheet: Sheet, scored: Mapping[str, ScoredRow]) -> tuple[tuple[str, ...], ...]:
    rows, copied = [], {}
    for row in sheet.scores:
        found = scored.get(row.recipe)
        rows.append((row.name, *_score_cells(row, found.entries(row.task) if found else [])))
        entries = found.entries(row.task, copied=True) if found else []
        if entries:
            name = f"{COPY}, pairs of {row.recipe}, {row.task or ALL}"
            unprinted = PrintedScore(name, row.recipe, row.task, None, None)
            copied[found.row, found.results.folder, row.task] = (name, *_score_cells(unprinted, entries))
    return (*rows, *copied.values())


def _score_cells(row: PrintedScore, entries: list[dict]) -> tuple[str, ...]:
    """Printed, as-published and proper SSIM, then PSNR, then n."""
    ssim, published, psnr = (estimate_entries(entries, key) for key in ("ssim", "ssim_as_published", "psnr"))
    return (
        _printed(row.ssim),
        _cell(published, 4),
        _cell(ssim, 4),
        _printed(row.psnr),
        f"{psnr.mean + AS_PUBLISHED_GAIN:.2f}" if psnr else ABSENT,
        _cell(psnr, 2),
        str(psnr.n) if psnr else ABSENT,
    )


def _gain_rows(sheet: Sheet, scored: Mapping[str, ScoredRow]) -> tuple[tuple[str, ...], ...]:
    rows = []
    for gain in sheet.gains:
        ends = [scored[recipe].entries(None) if recipe in scored else [] for recipe in (gain.start, gain.end)]
        ours = []
        for key in ("ssim_as_published", "ssim", "psnr"):
            start, end = (estimate_entries(entries, key) for entries in ends)
            ours.append(f"{end.mean - start.mean:+.4f}" if start and end else ABSENT)
        rows.append((gain.name, f"{gain.ssim:+g}", *ours[:2], f"{gain.psnr:+g}", ours[2], ours[2]))
    return tuple(rows)


def _printed(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, int | float) else as_text(value)


def _cell(estimate: Estimate | None, digits: int) -> str:
    return ABSENT if estimate is None else format_mean(estimate, digits)


def note_tables(paper: Paper, runs: list[Run]) -> list[str]:
    """How the printed scores can be read, and what our runs' numbers rest on."""
    notes = [
        f"Convention of the printed scores: {paper.convention} ({paper.remark}). Ours stand in both: as published and "
        "proper; PSNR in dB."
    ]
    for run in runs:
        tables = [results for results in run.results if results.systems]
        if tables and not any("ssim_as_published" in entry for results in tables for entry in results.pairs):
            notes.append(
                f"{run.label}: scored before the as-published SSIM was kept; score it again to fill its column."
            )
        if not run.config:
            notes.append(f"{run.label}: {run.folder} has no config.yaml, so that its recipe cannot be checked.")
    return notes


def to_markdown(paper: Paper, tables: list[PaperTable], notes: list[str]) -> str:
    """All tables of a paper under their titles."""
    out = [f"# {paper.title} ({paper.name})", "", *(f"- {note}" for note in notes), ""]
    for table in tables:
        out += [f"## {table.title}", "", markdown_table(table.headings, table.rows), ""]
    return "\n".join(out)


def to_csv(tables: list[PaperTable]) -> str:
    """All tables, one after the other, each line beginning with the table's title."""
    parts = ((["table", *table.headings], [[table.title, *row] for row in table.rows]) for table in tables)
    return "".join(csv_table(headings, rows) for headings, rows in parts)


def make_parser(papers: Mapping[str, Paper]) -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.paper_tables", description=__doc__.split("\n")[0])
    parser.add_argument("paper", choices=tuple(papers))
    parser.add_argument("--runs", nargs="*", default=[], metavar="[RECIPE=]FOLDER", help="run folders of ours")
    parser.add_argument("--output", type=Path, help="folder for tables.md, tables.csv and figures")
    parser.add_argument("--commands", action="store_true", help="say the commands that fill the rows, nothing else")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print a paper's tables; write them and the figures where --output says; returns the exit code."""
    papers = read_papers()
    options = make_parser(papers).parse_args(argv)
    paper = papers[options.paper]

    def run() -> None:
        if options.commands:
            sys.stdout.write(paper.commands)
            return
        runs = read_runs(options.runs)
        tables, notes, files = lay_out(paper, runs), note_tables(paper, runs), []
        if options.output:
            notes += [note for run in runs for note in note_figures(run)]
            write_text(options.output / "tables.md", to_markdown(paper, tables, notes))
            write_text(options.output / "tables.csv", to_csv(tables))
            files = write_figures(runs, options.output)
        console = Console()
        for table in tables:  # without intervals, for which a terminal has no room
            rows = [tuple(Text(INTERVAL.sub("", cell)) for cell in row) for row in table.rows]
            print_columns(console, table.headings, rows, table.title)
        print_notes(console, notes)
        sys.stdout.write("".join(f"{file}\n" for file in files))

    return run_command("python -m metrics.paper_tables", run)


if __name__ == "__main__":
    sys.exit(main())
