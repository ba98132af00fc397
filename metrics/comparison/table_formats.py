"""A score table as csv, json, markdown and for the terminal."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from metrics.comparison.baselines import is_upper_bound
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.table import Line, ScoreTable, ceiling_of
from metrics.measures.columns import MEASURES

NAME_WIDTH, CELL_WIDTH = 26, 18  # columns of a terminal: the row's name, the widest cell


def format_estimate(key: str, estimate: Estimate) -> str:
    """ "17.88 [17.20–18.51]"; without brackets where one episode gives no interval; "inf" where all are identical."""
    digits = MEASURES[key].digits
    if not estimate.n:
        return "-"
    if is_identical(key, estimate.mean):
        return "inf"
    if math.isnan(estimate.low):
        return f"{estimate.mean:.{digits}f}"
    return f"{estimate.mean:.{digits}f} [{estimate.low:.{digits}f}–{estimate.high:.{digits}f}]"


def is_identical(key: str, mean: float) -> bool:
    """Whether a mean PSNR is that of pictures which all equal the truth."""
    return key.startswith("psnr") and math.isclose(mean, ceiling_of(key), rel_tol=1e-12)


def _count(line: Line) -> str:
    return str(line.num_pairs) if line.num_pairs == line.num_wanted else f"{line.num_pairs} of {line.num_wanted}"


def to_csv(table: ScoreTable) -> str:
    """One line a (group, row), three columns a measure (mean, low, high), plain numbers."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{key}{part}" for key in table.keys for part in ("", "_low", "_high")]
    writer.writerow(["group", "row", "pairs", "of", "episodes", *columns])
    for line in table.lines:
        numbers = [
            _plain(value)
            for key in table.keys
            for value in (line.estimates[key].mean, line.estimates[key].low, line.estimates[key].high)
        ]
        num_episodes = max((estimate.num_episodes for estimate in line.estimates.values()), default=0)
        writer.writerow([line.group, line.row, line.num_pairs, line.num_wanted, num_episodes, *numbers])
    return stream.getvalue()


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def to_json(table: ScoreTable) -> str:
    """The whole table with its notes and provenance; an absent number is null."""
    return json.dumps(_without_nan(asdict(table)), indent=2, ensure_ascii=False) + "\n"


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(table: ScoreTable) -> str:
    """A table for a README; the best row of each group and measure in bold."""
    headings = ["", "", *(MEASURES[key].heading for key in table.keys), "n"]
    out = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    previous = None
    for line in table.lines:
        cells = [_bold(format_estimate(key, line.estimates[key]), is_best(table, line, key)) for key in table.keys]
        group = line.group if line.group != previous else ""
        out.append("| " + " | ".join([group, line.row, *cells, _count(line)]) + " |")
        previous = line.group
    out += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(out).rstrip() + "\n"


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def is_best(table: ScoreTable, line: Line, key: str) -> bool:
    """Whether no other row of the group has a better mean; an upper bound is nobody's rival."""
    if is_upper_bound(line.row):
        return False
    sign = 1.0 if MEASURES[key].higher_is_better else -1.0
    others = [other for other in table.lines if other.group == line.group and not is_upper_bound(other.row)]
    rivals = [sign * other.estimates[key].mean for other in others]
    rivals = [rival for rival in rivals if not math.isnan(rival)]
    return bool(rivals) and sign * line.estimates[key].mean == max(rivals)


def to_rich(table: ScoreTable, title: str, width: int = 80) -> list[RichTable]:
    """The table for a terminal, in parts that fit its width; the best row of each group and measure in bold."""
    per_part = max(1, (width - NAME_WIDTH) // CELL_WIDTH)
    parts = [table.keys[start : start + per_part] for start in range(0, len(table.keys), per_part)]
    return [_rich_part(table, keys, title if keys is parts[0] else "") for keys in parts]


def _rich_part(table: ScoreTable, keys: Sequence[str], title: str) -> RichTable:
    part = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    part.add_column("", overflow="fold", min_width=18)
    for key in keys:
        part.add_column(MEASURES[key].heading, justify="right")
    part.add_column("n", justify="right")
    previous = None
    for line in table.lines:
        if line.group != previous:
            part.add_section()
            part.add_row(Text(line.group.replace("_", " "), style="bold underline"))
        cells = [
            Text(format_estimate(key, line.estimates[key]), style="bold" if is_best(table, line, key) else "")
            for key in keys
        ]
        part.add_row(line.row, *cells, _count(line))
        previous = line.group
    return part
