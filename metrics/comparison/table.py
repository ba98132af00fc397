"""The table: a line per group and row, and the mean over all pairs, with n and intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from metrics.comparison.bootstrap import Estimate, estimate_mean
from metrics.comparison.scoring import PairScore
from metrics.measures.columns import DISTRIBUTION_KEYS
from metrics.measures.convention import AS_PUBLISHED_GAIN

ALL = "mean"  # name of the group that holds every pair; weighted by sample count
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0, 0)
IDENTICAL_DB = 100.0  # what an infinite PSNR (identical pictures) counts as in a mean


@dataclass(frozen=True)
class Line:
    """One row of one group."""

    group: str
    row: str
    num_pairs: int
    num_wanted: int
    estimates: dict[str, Estimate]  # by measure key


@dataclass(frozen=True)
class ScoreTable:
    """Lines in the order of groups, then rows; notes are sentences that the reader needs to judge them."""

    keys: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    provenance: dict = field(default_factory=dict)


def make_table(
    scores: Iterable[PairScore],
    keys: Sequence[str],
    rows: Sequence[str],
    wanted: dict[str, int],
    notes: Iterable[str] = (),
    provenance: dict | None = None,
    distributions: dict[tuple[str, str], dict[str, Estimate]] | None = None,
) -> ScoreTable:
    """Aggregate scores.

    Args:
        scores: of all rows and pairs, in any order.
        keys: measures, in the order of the columns.
        rows: names, in the order of the lines of a group.
        wanted: number of pairs that each group has, whether predicted or not.
        notes: sentences under the table.
        provenance: what was compared, for the json file.
        distributions: measures of a whole set of pictures, by (group, row).
    """
    by_row: dict[str, list[PairScore]] = {row: [] for row in rows}
    for score in scores:
        by_row[score.row].append(score)
    lines = []
    for group in (*sorted(wanted), ALL):
        for row in rows:
            members = [score for score in by_row[row] if group in (ALL, score.group)]
            num_wanted = sum(wanted.values()) if group == ALL else wanted[group]
            estimates = _estimate(members, [key for key in keys if key not in DISTRIBUTION_KEYS])
            estimates |= (distributions or {}).get((group, row), {})
            estimates = {key: estimates.get(key, UNKNOWN) for key in keys}
            lines.append(Line(group, row, len(members), num_wanted, estimates))
    notes = [*notes, *_notes_on_numbers(by_row)]
    return ScoreTable(tuple(keys), tuple(lines), tuple(notes), provenance or {})


def ceiling_of(key: str) -> float:
    """What an infinite value of a measure counts as."""
    return IDENTICAL_DB + (AS_PUBLISHED_GAIN if key.endswith("as_published") else 0.0)


def _estimate(members: list[PairScore], keys: Sequence[str]) -> dict[str, Estimate]:
    if not members:
        return {}
    values = np.array([[member.values[key] for key in keys] for member in members], dtype=float)
    values = np.where(np.isposinf(values), [ceiling_of(key) for key in keys], values)
    estimates = estimate_mean(values, [member.group for member in members], [member.episode for member in members])
    return dict(zip(keys, estimates, strict=True))


def _notes_on_numbers(by_row: dict[str, list[PairScore]]) -> list[str]:
    notes = []
    for row, scores in by_row.items():
        identical = sum(any(math.isinf(value) for value in score.values.values()) for score in scores)
        if identical:
            notes.append(
                f"{row}: {identical} pictures equal the truth in what is compared; infinite PSNR counts as "
                f"{IDENTICAL_DB:.0f} dB."
            )
    return notes
