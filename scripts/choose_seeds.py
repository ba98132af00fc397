"""Writes simulator/seeds.json: the scenes that policies are judged in, each solved by the script.

python -m scripts.choose_seeds        two minutes on one core; prints how many seeds were rejected
"""

import json
import sys

from formats.atomic import write_text
from simulator.seeds import COUNT, FILE, FIRST, choose_seeds
from simulator.tasks import TASKS


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
