"""The success table: k of n episodes for each policy and task, with intervals, and policies against each other.

    python -m metrics.success --rollouts ours=results/policy expert=results/replay --output tables/success
    python -m metrics.success --rollouts whole=a no_video=b one_view=c --base whole --output tables/ablations

Success is counted at the first moment after release, as RoboTwin 2.0 does; beside it stands what was still so a second
later. All policies play the same seeds, so the pairs, not the totals, are compared: every two, or, with --base, each
row against one, as ablations are. Sources of the intervals: metrics.measures.shares.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from commands.errors import UserError
from commands.run import run_command
from formats import tables
from formats.atomic import write_text
from formats.rollouts_folder import Rollout, read_rollouts
from metrics.comparison.predictions import parse_named_folders
from metrics.measures.shares import PairedShares, compare_shares, wilson_interval
from metrics.reports.figures import save_figure
from metrics.reports.films import draw_films

ALL = "all tasks"
SUCCESS_HEADINGS = ("policy", "task", "success", "95% interval")
MORE_HEADINGS = ("still so 1 s later", "steps", "ms a call (p95)", "clipped")
PAIRED_HEADINGS = ("first", "second", "task", "seeds", "only first", "only second", "p (McNemar, exact)")


@dataclass(frozen=True)
class SuccessRow:
    """One policy on one task; shares are of 1, seconds are of one call of the policy."""

    policy: str
    task: str
    successes: int
    num_episodes: int
    low: float  # Wilson's 95% interval
    high: float
    held: int  # still reached a second later
    median_steps: float  # of the successful episodes; nan without any
    median_seconds: float  # of a call; nan where nothing was asked
    p95_seconds: float
    clipped: int

    @property
    def rate(self) -> float:
        """Share of the episodes that succeeded."""
        return self.successes / self.num_episodes


@dataclass(frozen=True)
class PairedRow:
    """Two policies on the seeds that both played."""

    first: str
    second: str
    task: str
    shares: PairedShares


def summarise(policy: str, rollouts: Sequence[Rollout]) -> list[SuccessRow]:
    """A row for each task, and one for all of them where there are several."""
    tasks = sorted({rollout.task for rollout in rollouts})
    rows = [_summarise(policy, task, [rollout for rollout in rollouts if rollout.task == task]) for task in tasks]
    return rows if len(tasks) < 2 else [*rows, _summarise(policy, ALL, rollouts)]


def _summarise(policy: str, task: str, rollouts: Sequence[Rollout]) -> SuccessRow:
    successes = sum(rollout.success for rollout in rollouts)
    seconds = [second for rollout in rollouts for second in rollout.seconds]
    steps = [rollout.steps for rollout in rollouts if rollout.success]
    return SuccessRow(
        policy,
        task,
        successes,
        len(rollouts),
        *wilson_interval(successes, len(rollouts)),
        held=sum(rollout.held for rollout in rollouts),
        median_steps=float(np.median(steps)) if steps else np.nan,
        median_seconds=float(np.median(seconds)) if seconds else np.nan,
        p95_seconds=float(np.percentile(seconds, 95)) if seconds else np.nan,
        clipped=sum(rollout.clipped for rollout in rollouts),
    )


def compare_pairs(first: str, ours: Sequence[Rollout], second: str, theirs: Sequence[Rollout]) -> list[PairedRow]:
    """McNemar's test for each task and for all; nothing where the two share no seed."""
    outcomes = [{(r.task, r.look, r.seed): r.success for r in rollouts} for rollouts in (ours, theirs)]
    shared = sorted(outcomes[0].keys() & outcomes[1].keys())
    tasks = sorted({key[0] for key in shared})
    rows = []
    for task in [*tasks, ALL] if len(tasks) > 1 else tasks:
        keys = [key for key in shared if task in (ALL, key[0])]
        seen = Counter((outcomes[0][key], outcomes[1][key]) for key in keys)
        counts = (seen[outcome] for outcome in ((True, True), (True, False), (False, True), (False, False)))
        rows.append(PairedRow(first, second, task, compare_shares(*counts)))
    return rows


def to_markdown(rows: Sequence[SuccessRow], pairs: Sequence[PairedRow]) -> str:
    """Both tables for a README."""
    cells = [[*lead, *_more_cells(row)] for lead, row in zip(_leading_cells(rows), rows, strict=True)]
    out = [tables.to_markdown((*SUCCESS_HEADINGS, *MORE_HEADINGS), cells), ""]
    out += ["Success at the first moment after release; Wilson's interval; steps are medians of the successes."]
    if pairs:
        cells = [[pair.first, pair.second, pair.task, *_count_cells(pair.shares)] for pair in pairs]
        out += ["", tables.to_markdown(PAIRED_HEADINGS, cells)]
    return "\n".join(out) + "\n"


def against_base(rows: Sequence[SuccessRow], pairs: Sequence[PairedRow], base: str) -> str:
    """A table for a README of each row's success and its difference to the base on the seeds that both played."""
    headings = ("row", *SUCCESS_HEADINGS[1:], f"points against {base}", "seeds", "only it", f"only {base}", "p")
    compared = {(pair.first, pair.task): pair.shares for pair in pairs}
    cells = []
    for lead, row in zip(_leading_cells(rows), rows, strict=True):
        shares = compared.get((row.policy, row.task))
        if shares is None:
            cells.append([*lead, "base" if row.policy == base else "no seed in common", "", "", "", ""])
            continue
        points = f"{shares.difference:+.1%} [{shares.low:+.1%}, {shares.high:+.1%}]".replace("%", "")
        cells.append([*lead, points, *_count_cells(shares)])
    notes = "Differences in points with Newcombe's paired 95% interval; p: McNemar's exact test; the rows' own: Wilson."
    return f"{tables.to_markdown(headings, cells)}\n\n{notes}\n"


def _leading_cells(rows: Sequence[SuccessRow]) -> Iterator[list[str]]:
    """Cells of SUCCESS_HEADINGS; a policy is named once."""
    previous = None
    for row in rows:
        share = f"{row.successes} of {row.num_episodes} = {row.rate:.0%}"
        name = row.policy if row.policy != previous else ""
        yield [name, row.task, share, f"{row.low:.0%} to {row.high:.0%}"]
        previous = row.policy


def _more_cells(row: SuccessRow) -> list[str]:
    speed = "-" if np.isnan(row.median_seconds) else f"{1e3 * row.median_seconds:.0f} ({1e3 * row.p95_seconds:.0f})"
    steps = "-" if np.isnan(row.median_steps) else f"{row.median_steps:.0f}"
    return [str(row.held), steps, speed, str(row.clipped)]


def _count_cells(shares: PairedShares) -> list[str]:
    return [str(shares.num_seeds), str(shares.only_first), str(shares.only_second), f"{shares.p_value:.3g}"]


def to_csv(rows: Sequence[SuccessRow]) -> str:
    """One line a policy and task, plain numbers; an absent one is empty."""
    lines = [[*astuple(row), row.rate] for row in rows]
    known = [["" if value != value else value for value in line] for line in lines]  # noqa: PLR0124 - nan
    return tables.to_csv([*SuccessRow.__dataclass_fields__, "rate"], known)


def plot_success(rows: Sequence[SuccessRow]) -> Figure:
    """Bars with intervals, a group of bars a task."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    policies = list(dict.fromkeys(row.policy for row in rows))
    figure = Figure(figsize=(2.5 + 1.9 * len(tasks), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(policies)
    for number, policy in enumerate(policies):
        own = {row.task: row for row in rows if row.policy == policy}
        places = [place + (number - (len(policies) - 1) / 2) * width for place, task in enumerate(tasks) if task in own]
        shown = [own[task] for task in tasks if task in own]
        errors = [[row.rate - row.low for row in shown], [row.high - row.rate for row in shown]]
        axes.bar(places, [row.rate for row in shown], 0.92 * width, yerr=errors, label=policy, capsize=2)
    axes.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("success, 95% interval")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=min(4, len(policies)), frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Print the table; write it as md, csv and png where --output says."""
    parser = argparse.ArgumentParser(prog="python -m metrics.success", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rollouts", nargs="+", required=True, metavar="[NAME=]FOLDER", help="from run_policy.py")
    parser.add_argument("--base", metavar="NAME", help="compare each row with this one alone: a table of ablations")
    parser.add_argument("--output", type=Path, help="folder for success.md, .csv and .png")
    parser.add_argument("--films", type=int, default=0, metavar="N", help="films.jpg too: of the first row, the first N"
                        " seeds of each task, played with run_policy.py --videos")  # fmt: skip
    options = parser.parse_args(argv)

    def run() -> None:
        named, base = parse_named_folders(options.rollouts), options.base
        if base is not None and base not in named:
            raise UserError(f"--base {base} is none of the rows {', '.join(named)}; name one of them.")
        if options.films and not options.output:
            raise UserError(f"--films {options.films} has no place to go: give --output.")
        played = {name: read_rollouts(folder) for name, folder in named.items()}
        rows = [row for name, rollouts in played.items() for row in summarise(name, rollouts)]
        both = [(name, base) for name in played if name != base] if base else combinations(played, 2)
        pairs = [row for a, b in both for row in compare_pairs(a, played[a], b, played[b])]
        text = against_base(rows, pairs, base) if base else to_markdown(rows, pairs)
        if options.output:
            write_text(options.output / "success.md", text)
            write_text(options.output / "success.csv", to_csv(rows))
            save_figure(plot_success(rows), options.output / "success", (".png",))
        if options.films > 0:
            first = next(iter(named))
            save_figure(draw_films(named[first], played[first], options.films), options.output / "films", (".jpg",))
        sys.stdout.write(text)

    return run_command("python -m metrics.success", run)


if __name__ == "__main__":
    sys.exit(main())
