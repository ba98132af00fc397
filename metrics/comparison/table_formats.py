"""A score table as csv, json, markdown and for the terminal."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from formats import tables
from formats.atomic import read_json
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.rows import Kind, kind_by_name
from metrics.comparison.table import Row, ScoreTable, is_identical
from metrics.measures.columns import MEASURES

SCORE_AGAIN = "write it again with metrics.compute_metrics"
NAME_WIDTH = 18  # least columns of a terminal for the names of rows, which may be folded


def format_estimate(key: str, estimate: Estimate) -> str:
    """As format_mean, with the digits of a measure; "inf" where all pictures are identical."""
    return "inf" if is_identical(key, estimate.mean) else format_mean(estimate, MEASURES[key].digits)


def format_mean(estimate: Estimate, digits: int) -> str:
    """ "17.88 [17.20–18.51]"; without brackets where one episode gives no interval; "-" of no values."""
    if not estimate.n:
        return "-"
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.{digits}f}–{estimate.high:.{digits}f}]"
    return f"{estimate.mean:.{digits}f}{interval}"


def to_csv(table: ScoreTable) -> str:
    """One line a (group, row), three columns a measure (mean, low, high), plain numbers."""
    columns = [f"{key}{part}" for key in table.keys for part in ("", "_low", "_high")]
    rows = []
    for row in table.rows:
        estimates = [row.estimates[key] for key in table.keys]
        numbers = [_plain(value) for one in estimates for value in (one.mean, one.low, one.high)]
        num_episodes = max((one.num_episodes for one in estimates), default=0)
        rows.append([row.group, row.name, row.num_pairs, row.num_wanted, num_episodes, *numbers])
    return tables.to_csv(["group", "row", "pairs", "of", "episodes", *columns], rows)


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def to_json(table: ScoreTable) -> str:
    """The whole table with its notes and provenance; an absent number is null."""
    lines = [{"group": row.group, "row": row.name, **asdict(row)} for row in table.rows]
    for line in lines:
        del line["name"]
    content = {"keys": table.keys, "lines": lines, "notes": table.notes, "provenance": table.provenance}
    return json.dumps(_without_nan(content), indent=2, ensure_ascii=False) + "\n"


class StoredSystem(TypedDict, total=False):
    """Provenance in table.json of a row that came from a folder."""

    folder: str
    kind: Kind
    missing: list[str]
    unmatched: list[str]
    settings: dict[str, Any]
    benchmark: dict[str, Any]


class Provenance(TypedDict, total=False):
    """Provenance in table.json."""

    command: str
    commit: str
    data: str
    split: str | None
    episodes: str | None
    train_data: str | None
    train_episodes: str | None
    match: str | None
    size: int | None
    probe: str | None
    group: str
    motion_threshold: int
    systems: dict[str, StoredSystem]


@dataclass(frozen=True)
class StoredEstimate:
    """An estimate in table.json, where null stands for nan."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    num_episodes: int = 0


@dataclass(frozen=True)
class StoredRow:
    """A line of table.json; of before rows had a kind, it follows from the name."""

    group: str
    row: str
    num_pairs: int
    num_wanted: int
    estimates: dict[str, StoredEstimate]
    kind: Kind | None = None


@dataclass(frozen=True)
class StoredTable:
    """Content of table.json."""

    lines: list[StoredRow]
    keys: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provenance: Provenance = field(default_factory=dict)


def read_table(path: Path) -> ScoreTable:
    """The table that `to_json` wrote.

    Raises:
        UserError: if the file is damaged, or no such table.
    """
    stored = read_json(path, StoredTable, mend=SCORE_AGAIN)
    rows = []
    for line in stored.lines:
        estimates = {
            key: Estimate(*(math.nan if value is None else value for value in (one.mean, one.low, one.high)), one.n,
                          one.num_episodes)
            for key, one in line.estimates.items() if key in MEASURES
        }  # fmt: skip
        kind = line.kind or kind_by_name(line.row)
        rows.append(Row(line.group, line.row, kind, line.num_pairs, line.num_wanted, estimates))
    keys = tuple(key for key in stored.keys if key in MEASURES)
    return ScoreTable(keys, tuple(rows), tuple(stored.notes), dict(stored.provenance))


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(table: ScoreTable) -> str:
    """A table for a README; the best row of each group and measure in bold."""
    headings = ["", "", *(MEASURES[key].heading for key in table.keys), "n"]
    rows, previous = [], None
    for row in table.rows:
        cells = [_bold(format_estimate(key, row.estimates[key]), table.is_best(row, key)) for key in table.keys]
        rows.append([row.group if row.group != previous else "", row.name, *cells, row.count_text])
        previous = row.group
    notes = ["", *(f"- {note}" for note in table.notes)]
    return "\n".join([tables.to_markdown(headings, rows), *notes]).rstrip() + "\n"


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def print_table(console: Console, table: ScoreTable, title: str) -> None:
    """Print the table in parts that fit the terminal, the best row of each group and measure in bold, and its notes."""
    headings = ("", *(MEASURES[key].heading for key in table.keys), "n")
    rows: list[tuple[Text, ...]] = []
    for group, members in groupby(table.rows, key=lambda row: row.group):
        rows.append((Text(group.replace("_", " "), style="bold underline"),))
        rows += [_terminal_row(table, row) for row in members]
    print_columns(console, headings, rows, title, last=1)
    print_notes(console, table.notes)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Print the sentences under a table as they are, without rich's markup."""
    for note in notes:
        console.print(f"- {note}", markup=False, highlight=False)


def _terminal_row(table: ScoreTable, row: Row) -> tuple[Text, ...]:
    cells = (
        Text(format_estimate(key, row.estimates[key]), style="bold" if table.is_best(row, key) else "")
        for key in table.keys
    )
    return (Text(row.name), *cells, Text(row.count_text))


def print_columns(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[Text]], title: str = "", *, last: int = 0
) -> None:
    """Print columns of text, in parts where the terminal is too narrow for all; no word or number is ever cut.

    Args:
        console: where to; its width is kept unless one column alone is wider.
        headings: of the columns; the first one names the rows and stands in each part.
        rows: cells; a row of one cell alone is a heading and begins a section.
        title: above the columns.
        last: number of columns at the end that stand in each part.
    """
    always = [0, *range(len(headings) - last, len(headings))]
    columns = [[Text(headings[i]), *(row[i] for row in rows if i < len(row))] for i in range(len(headings))]
    least = [_least_width(cells) for cells in columns]
    least[0] = max(least[0], min(NAME_WIDTH, max(len(cell) for cell in columns[0])))
    parts: list[list[int]] = [[]]
    for i in range(1, len(headings) - last):
        if parts[-1] and _total_width(least[j] for j in (*always, *parts[-1], i)) > console.width:
            parts.append([])
        parts[-1].append(i)
    if title:
        console.print(Text(title, style="italic"))
    for part in parts:
        chosen = [0, *part, *always[1:]]
        spare = max(0, console.width - _total_width(least[i] for i in chosen))
        shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for i in chosen:
            more = min(spare, max(len(cell) for cell in columns[i]) - least[i])
            spare -= more
            numeric = i > 0 and all(_is_number(cell.plain) for cell in columns[i][1:])
            justify, width = ("right" if numeric else "left"), least[i] + more
            # Both limits, since a column of `width` alone would shrink.
            shown.add_column(columns[i][0], justify=justify, min_width=width, max_width=width)
        for row in rows:
            if len(row) == 1 and shown.row_count:
                shown.add_section()
            shown.add_row(*(row[i] if i < len(row) else Text() for i in chosen))
        console.print(shown, crop=False)


def _total_width(widths: Iterable[int]) -> int:
    """Columns of a terminal that a table takes, with a space and a gap after each column and an edge before."""
    return sum(width + 2 for width in widths) + 1


def _least_width(cells: Sequence[Text]) -> int:
    """Columns that a cell needs so that no word breaks; an estimate and its interval are one word, "1 of 63" too."""
    texts = (re.sub(r" (?=\[)| (?=of \d)|(?<=\d of) ", "_", cell.plain) for cell in cells)
    return max((len(word) for text in texts for word in text.split(" ")), default=1)


def _is_number(text: str) -> bool:
    return text[:1] in "-0123456789" or text in ("", "inf", "nan")
