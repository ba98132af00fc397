"""The table: a row per group and system, and the mean over all pairs, with n and intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metrics.comparison.bootstrap import Estimate, estimate_mean, estimate_quantile
from metrics.comparison.rows import TRUTH, UPPER_BOUND, Kind
from metrics.comparison.scoring import PairScore
from metrics.measures.columns import DISTRIBUTION_KEYS, MEASURES
from metrics.measures.psnr import AS_PUBLISHED_GAIN

ALL = "mean"  # name of the group that holds every pair; weighted by sample count
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0, 0)
IDENTICAL_DB = 100.0  # what an infinite PSNR (identical pictures) counts as in a mean


@dataclass(frozen=True)
class Row:
    """One row of one group."""

    group: str
    name: str
    kind: Kind
    num_pairs: int
    num_wanted: int
    estimates: dict[str, Estimate]  # by measure key

    @property
    def competes(self) -> bool:
        """Whether the row may be marked as the best: not an upper bound, nor a row that was scored on other pairs."""
        return self.kind != UPPER_BOUND and self.num_pairs == self.num_wanted

    @property
    def count_text(self) -> str:
        """ "63", or "1 of 63" where pictures are missing."""
        return str(self.num_pairs) if self.num_pairs == self.num_wanted else f"{self.num_pairs} of {self.num_wanted}"


@dataclass(frozen=True)
class ScoreTable:
    """Rows in the order of groups, then systems; notes are sentences that the reader needs to judge them."""

    keys: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    provenance: dict = field(default_factory=dict)

    def is_best(self, row: Row, key: str) -> bool:
        """Whether no other row of the group has a better mean, among those that compete."""
        rivals = [other for other in self.rows if other.group == row.group and other.competes]
        means = [other.estimates[key].mean for other in rivals if key in other.estimates]
        known = [mean for mean in means if not math.isnan(mean)]
        if MEASURES[key].higher_is_better is None:
            return False
        best = max if MEASURES[key].higher_is_better else min
        return row.competes and bool(known) and row.estimates[key].mean == best(known)


def make_table(
    scores: Iterable[PairScore],
    keys: Sequence[str],
    kinds: Mapping[str, Kind],
    wanted: dict[str, int],
    notes: Iterable[str] = (),
    provenance: dict | None = None,
    distributions: dict[tuple[str, str], dict[str, Estimate]] | None = None,
) -> ScoreTable:
    """Aggregate scores.

    Args:
        scores: of all rows and pairs, in any order.
        keys: measures, in the order of the columns.
        kinds: kind by name, in the order of the rows of a group.
        wanted: number of pairs that each group has, whether predicted or not.
        notes: sentences under the table.
        provenance: what was compared, for the json file.
        distributions: measures of a whole set of pictures, by (group, row).
    """
    by_row: dict[str, list[PairScore]] = {name: [] for name in kinds}
    for score in scores:
        by_row[score.row].append(score)
    rows = []
    for group in (*sorted(wanted), ALL):
        for name, kind in kinds.items():
            members = [score for score in by_row[name] if group in (ALL, score.group)]
            num_wanted = sum(wanted.values()) if group == ALL else wanted[group]
            estimates = estimate_scores(members, [key for key in keys if key not in DISTRIBUTION_KEYS])
            estimates |= (distributions or {}).get((group, name), {})
            estimates = {key: estimates.get(key, UNKNOWN) for key in keys}
            rows.append(Row(group, name, kind, len(members), num_wanted, estimates))
    notes = [*notes, *_note_identical(by_row)]
    return ScoreTable(tuple(keys), tuple(rows), tuple(notes), provenance or {})


def ceiling_of(key: str) -> float:
    """What an infinite value of a measure counts as."""
    return IDENTICAL_DB + (AS_PUBLISHED_GAIN if key.endswith("as_published") else 0.0)


def is_identical(key: str, mean: float) -> bool:
    """Whether a mean PSNR is that of pictures which all equal the truth."""
    return key.startswith("psnr") and math.isclose(mean, ceiling_of(key), rel_tol=1e-12)


def mean_of_scores(scores: Iterable[PairScore], key: str) -> float:
    """Mean of a measure as a table has it, nan where no pair has a value."""
    values = [min(score.values[key], ceiling_of(key)) for score in scores if not math.isnan(score.values[key])]
    return float(np.mean(values)) if values else math.nan


def estimate_scores(members: Sequence[PairScore], keys: Sequence[str]) -> dict[str, Estimate]:
    """Mean or quantile of each column over some pairs, with its interval; empty for no pairs."""
    if not members:
        return {}
    drawn = ([member.group for member in members], [member.episode for member in members])
    averaged = [key for key in keys if MEASURES[key].quantile is None]
    values = np.array([[member.values[key] for key in averaged] for member in members], dtype=float)
    values = np.where(np.isposinf(values), [ceiling_of(key) for key in averaged], values)
    estimates = dict(zip(averaged, estimate_mean(values, *drawn), strict=True)) if averaged else {}
    for key in keys:
        if (quantile := MEASURES[key].quantile) is not None:
            column = np.array([member.values[MEASURES[key].value_key] for member in members], dtype=float)
            estimates[key] = estimate_quantile(column, quantile, *drawn)
    return estimates


def _note_identical(by_row: dict[str, list[PairScore]]) -> list[str]:
    notes = []
    for row, scores in by_row.items():
        if row == TRUTH:
            continue
        identical = sum(any(math.isinf(value) for value in score.values.values()) for score in scores)
        if identical:
            notes.append(
                f"{row}: {identical} pictures equal the truth in what is compared; infinite PSNR counts as "
                f"{IDENTICAL_DB:.0f} dB."
            )
    return notes
