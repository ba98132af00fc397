"""Writes simulator/seeds.json: the scenes that policies are judged in, each solved by the script.

python -m scripts.choose_seeds        two minutes on one core; prints how many seeds were rejected
"""

import json
import sys

from formats.atomic import write_text
from simulator.recorder import simulate
from simulator.seeds import COUNT, FILE, FIRST
from simulator.tasks import TASKS


def choose_seeds(task: str, first: int, count: int) -> tuple[list[int], int]:
    """The first `count` seeds from `first` on that the script solves, and how many it did not."""
    chosen: list[int] = []
    seed = first
    while len(chosen) < count:
        if simulate(task, seed, save_freq=500).success:
            chosen.append(seed)
        seed += 1
    return chosen, seed - first - count


def main() -> int:
    """Try seeds until each list is full."""
    rows = []
    for task in TASKS:
        lists = []
        for split, first in FIRST.items():
            seeds, rejected = choose_seeds(task, first, COUNT[split])
            print(f"{task}, {split}: {COUNT[split]} seeds from {first}, {rejected} rejected")
            lists.append(f'    "{split}": {json.dumps(seeds)}')
        rows.append(f'  "{task}": {{\n' + ",\n".join(lists) + "\n  }")
    write_text(FILE, "{\n" + ",\n".join(rows) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
