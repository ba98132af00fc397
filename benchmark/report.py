"""What every benchmark writes: rows, and a page of tables in markdown beside its numbers in JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from formats.atomic import write_json, write_text


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
    floor: float = 0.0  # the least that is possible, in `unit`; 0 if nothing says what that is
    note: str = ""
    counted: dict[str, Any] = field(default_factory=dict)  # calls of networks, operations, memory

    @property
    def ratio(self) -> float:
        """The peer's value over ours: for seconds, how many times faster ours is."""
        return self.peer / self.value

    @property
    def is_clear(self) -> bool:
        """Whether the difference exceeds the spread of running the same side again."""
        return abs(self.peer - self.value) > max(self.spread, self.peer_spread)

    def cells(self) -> list[str]:
        """Row, what, value, spread, what it is compared with, how many times that it is, and the note."""

        def number(value: float | None, unit: str = "") -> str:
            return "-" if value is None else f"{value:,.4g} {unit}".strip()

        peer = f"{self.peer_name} {number(self.peer, self.unit)}" if self.peer else "-"
        times = number(self.value / self.peer) if self.peer and self.value else "-"
        return [self.row, self.what, number(self.value, self.unit), number(self.spread), peer, times, self.note]


def with_range(value: float, spread: float, digits: int) -> str:
    """A median with half the range of its rounds."""
    return f"{value:.{digits}f} ± {spread / 2:.{digits}f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; a column whose head ends in a colon holds numbers, and is aligned to the right."""
    lines = [[head.removesuffix(":") for head in heads], ["---:" if head[-1:] == ":" else "---" for head in heads]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *rows])


def page(title: str, facts: Mapping[str, Any], *parts: str) -> str:
    """A page in markdown: what was run on what machine, then parts, of which empty ones are left out."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in facts.items()}
    said = "; ".join(f"{name} {value}" for name, value in shown.items() if name != "command")
    return "\n\n".join([f"# {title}", f"`{facts['command']}`", f"{said}.", *filter(None, parts)]) + "\n"


def write_report(path: Path, result: Mapping[str, Any], text: str) -> None:
    """Write <path>.json and <path>.md, each whole or not at all."""
    write_json(path.with_name(f"{path.name}.json"), result)
    write_text(path.with_name(f"{path.name}.md"), text)
