"""The scenes that policies are judged in: seeds that the expert solves, and that no training episode has.

Training episode i starts at seed 1000 i, and dataset_tools.simulate stops before seed 100,000,000; from there on seeds
are for judging. `val` chooses between checkpoints, `test` is for the table.
"""

import json
from functools import cache
from pathlib import Path

from commands.errors import UserError

FILE = Path(__file__).with_name("seeds.json")  # written by scripts/choose_seeds.py
FIRST = {"val": 100_000_000, "test": 101_000_000}
COUNT = {"val": 20, "test": 100}


def read_seeds(task: str, split: str) -> tuple[int, ...]:
    """The committed seeds of a task: 20 of `val` or 100 of `test`."""
    lists = _read()
    if task not in lists:
        raise UserError(f"there are no seeds of a task {task!r}; choose from {', '.join(lists)}.")
    if split not in FIRST:
        raise UserError(f"there are no seeds {split!r}; choose from {', '.join(FIRST)}.")
    return tuple(lists[task][split])


@cache
def _read() -> dict[str, dict[str, list[int]]]:
    return json.loads(FILE.read_text(encoding="utf-8"))
