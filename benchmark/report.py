"""What every benchmark writes: a table of rows, as a page in markdown beside its numbers in JSON, after each row."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from formats.atomic import write_json, write_text
from formats.tables import to_markdown


@dataclass(frozen=True)
class Row:
    """One measured row of a table."""

    row: str  # such as I1 or T7
    what: str
    value: float | None  # None where this machine cannot measure it
    unit: str = "s"
    peer: float | None = None  # the same of what it is compared with
    peer_name: str = ""
    spread: float | None = None  # largest minus smallest value of the rounds
    peer_spread: float | None = None
    floor: float | None = None  # the least that is possible, in `unit`; None if nothing says what that is
    note: str = ""
    # Further columns: calls, seconds of parts, memory.
    counted: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """Whether the difference exceeds the spread of running the same side again."""
        return abs(self.peer - self.value) > max(self.spread or 0.0, self.peer_spread or 0.0)

    def cells(self) -> dict[str, str]:
        """Text by head; a head that ends in a colon is one of numbers."""
        compared = self.peer is not None and self.value is not None
        return {
            "row": self.row,
            "what": self.what,
            "value:": _number(self.value, self.unit),
            "spread:": _number(self.spread),
            "compared with": f"{self.peer_name} {_number(self.peer)}" if self.peer is not None else "",
            "times that:": _number(self.value / self.peer, "" if self.is_clear else "(unclear)") if compared else "",
            "times the floor:": _number(self.value / self.floor) if self.floor and self.value else "",
            **{f"{name}:": _number(value) for name, value in self.counted.items()},
            "note": self.note,
        }


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:,.4g} {unit}".strip()


class Table:
    """Rows of one run, in sections, written after each.

    Args:
        title: of the page.
        facts: what was run, with the `command`, on what machine.
        path: of the two files, without ending; None writes none.
        said: sentences between the facts and the rows.
        same: names of facts; where the file on disk agrees in them, its rows are kept.
    """

    def __init__(
        self, title: str, facts: Mapping[str, Any], path: Path | None, *said: str, same: Sequence[str] = ()
    ) -> None:
        self.title, self.facts, self.path, self.said = title, facts, path, said
        self.rows: dict[tuple[str, str, str], Row] = {}  # by section, row and what
        self.done: list[str] = []  # sections that are complete
        if same and self._file(".json").is_file():
            old = json.loads(self._file(".json").read_text(encoding="utf-8"))
            if all(old["facts"].get(name) == facts[name] for name in same):
                self.done = old["done"]
                kept = [(entry.pop("section"), Row(**entry)) for entry in old["rows"] if entry["value"] is not None]
                self.rows = {(section, row.row, row.what): row for section, row in kept}

    def _file(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def add(self, row: Row, section: str = "") -> None:
        """Keep a row, in the place of an earlier one of its name, and write the table."""
        self.rows[section, row.row, row.what] = row
        self.write()

    def write(self) -> None:
        """Write <path>.json and <path>.md, each whole or not at all."""
        if self.path is not None:
            rows = [{"section": section, **asdict(row)} for (section, *_), row in self.rows.items()]
            write_json(self._file(".json"), {"facts": self.facts, "done": self.done, "rows": rows})
            write_text(self._file(".md"), self.text)

    @property
    def text(self) -> str:
        """The page: facts, sentences, and a table for each section, its rows in the order of their names."""
        facts = {name: _number(value) if isinstance(value, float) else value for name, value in self.facts.items()}
        facts = "; ".join(f"{name} {value}" for name, value in facts.items() if name != "command")
        parts = [f"# {self.title}", f"`{self.facts['command']}`", f"{facts}.", *filter(None, self.said)]
        for section in dict.fromkeys(section for section, *_ in self.rows):
            rows = [row for (of, *_), row in self.rows.items() if of == section]
            parts += [*([f"## {section}"] if section else []), table(sorted(rows, key=lambda row: row.row))]
        return "\n\n".join(parts) + "\n"


def table(rows: Iterable[Row]) -> str:
    """A markdown table of rows; columns that all leave empty are left out."""
    cells = [row.cells() for row in rows]
    heads = dict.fromkeys(head for of in cells for head in of if head != "note") | {"note": None}
    heads = [head for head in heads if any(of.get(head) for of in cells)]
    numbers = [i for i, head in enumerate(heads) if head.endswith(":")]
    return to_markdown(
        [head.removesuffix(":") for head in heads], [[of.get(h) or "-" for h in heads] for of in cells], numbers
    )
