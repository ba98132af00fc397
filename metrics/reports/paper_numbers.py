"""The printed tables of the papers: data classes, and paper_numbers.yaml, which holds the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("paper_numbers.yaml")
ALIASES = {  # RoboTwin 2.0's names of the papers' tasks
    "beat_block_hammer": "block_hammer_beat",
    "handover_block": "block_handover",
    "stack_blocks_two": "blocks_stack_easy",
}


@dataclass(frozen=True)
class PrintedScore:
    """One row of a table of scores: a number, a range as text, or None where nothing is printed."""

    name: str
    recipe: str
    task: str | None  # None is the mean over the tasks
    ssim: float | str | None
    psnr: float | str | None


@dataclass(frozen=True)
class PrintedGain:
    """Difference of two rows of scores."""

    name: str
    start: str  # recipes
    end: str
    ssim: float
    psnr: float


@dataclass(frozen=True)
class Sheet:
    """One table of a paper: of scores, of gains, or of facts."""

    number: str
    title: str
    convention: str  # of its printed scores
    scores: tuple[PrintedScore, ...] = ()
    gains: tuple[PrintedGain, ...] = ()
    headings: tuple[str, ...] = ()
    facts: tuple[tuple[str, ...], ...] = ()  # cells
    sources: tuple[str | None, ...] = ()  # what a run of ours says beside each row, see run_facts
    own_rows: Mapping[str, tuple[str, ...]] | None = None  # further rows for a run of ours, by their name


@dataclass(frozen=True)
class Paper:
    """The tables of one paper, and the convention its scores were computed in, as far as can be told."""

    name: str
    title: str
    convention: str  # proper, as published, or not stated
    remark: str
    commands: str  # that fill the rows
    has: tuple[str, ...]  # dotted keys that the config of a run of this paper has
    lacks: tuple[str, ...]
    sheets: tuple[Sheet, ...]

    @property
    def recipes(self) -> list[str]:
        """Labels that a run may have."""
        return list(dict.fromkeys(row.recipe for sheet in self.sheets for row in sheet.scores))


def read_papers() -> dict[str, Paper]:
    """The papers by name."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: _make_paper(name, paper) for name, paper in content.items()}


def _make_paper(name: str, paper: dict[str, Any]) -> Paper:
    sheets = tuple(_make_sheet(table, paper["convention"]) for table in paper["tables"])
    has, lacks = (tuple(paper["marks"][key]) for key in ("has", "lacks"))
    return Paper(name, paper["title"], paper["convention"], paper["remark"], paper["commands"], has, lacks, sheets)


def _make_sheet(table: dict[str, Any], convention: str) -> Sheet:
    return Sheet(
        table["number"],
        table["title"],
        table.get("convention", convention),
        tuple(PrintedScore(*row) for row in table.get("scores", ())),
        tuple(PrintedGain(*row) for row in table.get("gains", ())),
        tuple(table.get("headings", ())),
        tuple(tuple(row[:-1]) for row in table.get("facts", ())),
        tuple(row[-1] for row in table.get("facts", ())),
        {name: tuple(sources) for name, sources in table["own_rows"].items()} if "own_rows" in table else None,
    )
