"""CALVIN's measure of policies: how many of five sentences in a row are carried out.

    python -m metrics.chains --chains ours=chains.jsonl --output tables/chains

A chain is five tasks, one sentence after the other; it ends at the first that fails. Reported are the share of chains
in which 1, 2, ... 5 tasks in a row succeeded, and the average length, which is their sum (arXiv 2112.03227, section
V-C; 1,000 chains there). A file has a JSON line a chain: {"completed": 3}; what else stands in it is passed over.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from commands.run import run_command
from formats import tables
from formats.atomic import read_jsonl, write_json, write_text
from metrics.comparison.bootstrap import Estimate, estimate_mean
from metrics.comparison.predictions import parse_named_folders
from metrics.comparison.table_formats import format_mean
from metrics.measures.shares import wilson_interval

LENGTH = 5  # tasks of a chain


@dataclass(frozen=True)
class Chain:
    """One chain that a policy was given."""

    completed: int  # tasks in a row, from the first

    def __post_init__(self) -> None:
        if not 0 <= self.completed <= LENGTH:
            raise ValueError(f"{self.completed} tasks of {LENGTH}")


@dataclass(frozen=True)
class ChainSuccess:
    """Success of a policy on its chains."""

    shares: tuple[float, ...]  # of chains with at least 1, 2, ... LENGTH tasks in a row
    intervals: tuple[tuple[float, float], ...]  # Wilson's 95%
    average_length: Estimate  # 0 to LENGTH; interval by the bootstrap over chains


def measure_chains(completed: Sequence[int]) -> ChainSuccess:
    """Success of chains of which so many tasks in a row were carried out."""
    counts = [sum(done >= least for done in completed) for least in range(1, LENGTH + 1)]
    numbers = [(number,) for number in range(len(completed))]
    values = np.array(completed, dtype=float)[:, None]
    (average,) = estimate_mean(values, [""] * len(completed), numbers)
    return ChainSuccess(
        tuple(count / len(completed) for count in counts),
        tuple(wilson_interval(count, len(completed)) for count in counts),
        average,
    )


def read_chains(path: Path) -> list[Chain]:
    """Chains of a file.

    Raises:
        UserError: if it is absent, holds none, or a line is malformed.
    """
    chains = read_jsonl(path, Chain)
    if not chains:
        raise UserError(f'{path} holds no chains; wanted a line such as {{"completed": 3}} for each.')
    return chains


def to_markdown(results: dict[str, ChainSuccess]) -> str:
    """A row a policy."""
    headings = ["policy", "chains", *(f"{number} in a row" for number in range(1, LENGTH + 1)), "average length"]
    rows = []
    for name, result in results.items():
        shares = zip(result.shares, result.intervals, strict=True)
        cells = [f"{share:.1%} [{low:.1%}–{high:.1%}]" for share, (low, high) in shares]
        rows.append([name, str(result.average_length.n), *cells, format_mean(result.average_length, 2)])
    notes = "Brackets: 95% intervals, Wilson's of shares, the bootstrap's over chains of lengths."
    return f"{tables.to_markdown(headings, rows)}\n\n{notes}\n"


def main(argv: list[str] | None = None) -> int:
    """Print the table; write it as md and json where --output says."""
    parser = argparse.ArgumentParser(prog="python -m metrics.chains", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--chains", nargs="+", required=True, metavar="[NAME=]FILE", help="JSON lines, one a chain")
    parser.add_argument("--output", type=Path, help="folder for chains.md and chains.json")
    options = parser.parse_args(argv)

    def run() -> None:
        read = {name: read_chains(path) for name, path in parse_named_folders(options.chains).items()}
        results = {name: measure_chains([chain.completed for chain in chains]) for name, chains in read.items()}
        text = to_markdown(results)
        if options.output:
            write_text(options.output / "chains.md", text)
            rows = {
                name: {"shares": result.shares, "average_length": result.average_length.mean, "n": len(read[name])}
                for name, result in results.items()
            }
            write_json(options.output / "chains.json", rows)
        sys.stdout.write(text)

    return run_command("python -m metrics.chains", run)


if __name__ == "__main__":
    sys.exit(main())
