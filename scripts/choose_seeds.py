"""Writes simulator/seeds.json: the scenes that policies are judged in, each solved by the expert.

    python -m scripts.choose_seeds --task blocks_stack_easy
    python -m scripts.choose_seeds --task all

About 40 seconds a task on one core; prints how many seeds were rejected. The lists of other tasks stay as they are.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from commands.run import run_command
from formats.atomic import write_text
from simulator.recorder import simulate
from simulator.seeds import COUNT, FILE, FIRST
from simulator.tasks import TASKS


def choose_seeds(task: str, first: int, count: int) -> tuple[list[int], int]:
    """The first `count` seeds from `first` on that the expert solves, and how many it did not."""
    chosen: list[int] = []
    seed = first
    while len(chosen) < count:
        if simulate(task, seed, save_freq=500).success:
            chosen.append(seed)
        seed += 1
    return chosen, seed - first - count


def format_seeds(lists: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """The text of seeds.json, one line a list, tasks in the order of TASKS."""
    rows = []
    for task in (name for name in TASKS if name in lists):
        splits = [f'    "{split}": {json.dumps(list(seeds))}' for split, seeds in lists[task].items()]
        rows.append(f'  "{task}": {{\n' + ",\n".join(splits) + "\n  }")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    usage = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m scripts.choose_seeds",
        description=usage[0],
        epilog="examples:\n" + usage[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", nargs="+", choices=(*TASKS, "all"), required=True, help="whose lists are rewritten")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Try seeds until the lists of the tasks asked for are full."""

    def body() -> None:
        asked = make_parser().parse_args(argv).task
        lists = json.loads(FILE.read_text(encoding="utf-8"))
        for task in TASKS if "all" in asked else asked:
            lists[task] = {}
            for split, first in FIRST.items():
                lists[task][split], rejected = choose_seeds(task, first, COUNT[split])
                print(f"{task}, {split}: {COUNT[split]} seeds from {first}, {rejected} rejected")
        write_text(FILE, format_seeds(lists))

    return run_command("python -m scripts.choose_seeds", body, interrupted="stopped; seeds.json is as it was.")


if __name__ == "__main__":
    sys.exit(main())
