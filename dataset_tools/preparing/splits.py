"""Which split an episode belongs to: fixed by its task and number alone.

Notation: g = 2^64 / golden ratio. u(n) = n g mod 2^64 is Fibonacci hashing (Knuth, TAOCP 6.4): any run of
consecutive episode numbers is spread almost evenly over [0, 2^64). A split is an interval of u, so

- an episode's split never depends on which other episodes there are: adding episodes moves none;
- fractions are met closely, even with few episodes (plain random hashing leaves a task of ten without validation
  episodes one time in three);
- the intervals are placed (by a hash of the task, within this limit) so that episode 1 is in test and episode 2 in
  validation: a task with the episodes 0, 1, 2 has every split.

The same task and number mean the same RoboTwin scene in anybody's data set, and they get the same split here.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from commands.errors import UserError
from formats.hashing import stable_fraction

FULL = 2**64
GOLDEN = 11400714819323198485  # 2^64 / golden ratio, odd
SPLIT_KINDS = ("episode", "leaky")
MOST_HELD_OUT = 1_000_000  # episode numbers of a range of --holdout


@dataclass(frozen=True)
class SplitRule:
    """How pairs are divided. `leaky` divides pairs, not episodes: only to reproduce the papers' numbers."""

    val: float = 0.1
    test: float = 0.1
    holdout: frozenset[int] = frozenset()  # episode numbers that are test whatever the hash says
    kind: str = "episode"

    def __post_init__(self) -> None:
        if self.kind not in SPLIT_KINDS:
            raise UserError(f"split '{self.kind}' is not one of {', '.join(SPLIT_KINDS)}.")
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test <= 1):  # False for nan too
            raise UserError(f"--val {self.val} and --test {self.test} must be fractions that add up to at most 1.")
        if self.kind == "leaky" and self.holdout:
            raise UserError("--split leaky ignores episodes, so --holdout cannot be kept; leave one of them out.")


def add_split_arguments(add: Callable) -> None:
    """Add --val, --test and --holdout to a parser, or a group of it, by its add_argument."""
    add("--val", type=float, default=0.1, help="fraction of the episodes")
    add("--test", type=float, help="fraction of the episodes (default 0.1, or 0 with --holdout)")
    add("--holdout", type=parse_numbers, default=frozenset(), help="episode numbers for the test split: 80-99")


def read_split_rule(args: argparse.Namespace, kind: str = "episode") -> SplitRule:
    """The rule that those arguments give."""
    test = args.test if args.test is not None else 0.0 if args.holdout else 0.1
    return SplitRule(args.val, test, args.holdout, kind)


def parse_numbers(text: str) -> frozenset[int]:
    """'80-99' or '3,7,80-99' => those episode numbers, both ends included.

    Raises:
        ArgumentTypeError: if the text is anything else.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(
                f"'{text}' is no list of episode numbers; write for example 80-99 or 3,7,80-99."
            )
        if int(last or first) - int(first) >= MOST_HELD_OUT:
            raise argparse.ArgumentTypeError(
                f"'{text}' names more than {MOST_HELD_OUT} episodes; write a shorter range."
            )
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def split_of_episode(rule: SplitRule, task: str, number: int) -> str:
    """train, val or test."""
    if number in rule.holdout:
        return "test"
    test, val = round(rule.test * FULL), round(rule.val * FULL)
    test_start = (GOLDEN - int(stable_fraction("test", task) * test)) % FULL  # holds u(1)
    after_test = (number * GOLDEN - test_start - test) % FULL  # position in [test's end, test's start)
    if after_test >= FULL - test:
        return "test"
    second = (2 * GOLDEN - test_start - test) % FULL
    val_start = min(second - int(stable_fraction("val", task) * val), FULL - test - val)  # holds u(2)
    return "val" if 0 <= after_test - max(val_start, 0) < val else "train"


def split_of_pair(rule: SplitRule, task: str, number: int, pair_id: str) -> str:
    """train, val or test; by episode, unless the rule is `leaky`."""
    if rule.kind == "episode":
        return split_of_episode(rule, task, number)
    draw = stable_fraction("leaky", pair_id)
    if draw < rule.test:
        return "test"
    return "val" if draw < rule.test + rule.val else "train"


def missing_splits(rule: SplitRule, splits: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Task => wanted splits that it has no pair in, from (task, split) of all pairs."""
    wanted = [("test", rule.test > 0 or bool(rule.holdout)), ("val", rule.val > 0), ("train", rule.val + rule.test < 1)]
    present: dict[str, set[str]] = {}
    for task, split in splits:
        present.setdefault(task, set()).add(split)
    missing = {
        task: [name for name, is_wanted in wanted if is_wanted and name not in has] for task, has in present.items()
    }
    return {task: names for task, names in missing.items() if names}
