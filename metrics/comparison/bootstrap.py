"""Mean over pairs with a 95% interval that resamples episodes.

Pairs of one episode show one scene, so they are not independent; resampling pairs would give intervals that are
too narrow. Episodes are drawn with replacement within each group (task), so that groups keep their number of
episodes, and the mean over the pairs of the drawn episodes is taken; the interval is the central 95% of the draws.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; cluster resampling: Davison
and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from einops import reduce

NUM_DRAWS = 2000
INTERVAL = (2.5, 97.5)  # percentiles
SEED = 20240601


@dataclass(frozen=True)
class Estimate:
    """Mean or quantile of n values with its interval; nan where there are none. One episode has no interval (nan)."""

    mean: float
    low: float
    high: float
    n: int
    num_episodes: int


def estimate_mean(
    values: np.ndarray, groups: Sequence[str], episodes: Sequence[tuple], num_draws: int = NUM_DRAWS
) -> list[Estimate]:
    """Estimate of each column, independent of the order of the rows.

    Args:
        values: (N, K); a nan is left out of its column.
        groups: N names; the episodes of each are drawn separately.
        episodes: N keys; rows with one key are drawn together.
        num_draws: number of bootstrap draws.
    """
    counts, sums, strata = _sum_by_episode(values, groups, episodes)
    total, number = reduce(sums, "e k -> k", "sum"), reduce(counts, "e k -> k", "sum")
    drawn_sums = np.zeros((num_draws, values.shape[1]))
    drawn_counts = np.zeros_like(drawn_sums)
    for members, weights in _draw_episodes(strata, num_draws):
        drawn_sums += weights @ sums[members]
        drawn_counts += weights @ counts[members]
    estimates = []
    for column in range(values.shape[1]):
        n, num_episodes = int(number[column]), int(np.count_nonzero(counts[:, column]))
        mean = total[column] / n if n else np.nan
        low, high = _interval(drawn_sums[:, column], drawn_counts[:, column]) if num_episodes > 1 else (np.nan, np.nan)
        estimates.append(Estimate(float(mean), float(low), float(high), n, num_episodes))
    return estimates


def estimate_quantile(
    values: np.ndarray, quantile: float, groups: Sequence[str], episodes: Sequence[tuple], num_draws: int = NUM_DRAWS
) -> Estimate:
    """The least of N values that `quantile` of them do not exceed, with its interval over the same drawn episodes.

    Args:
        values: (N,); a nan is left out.
        quantile: in (0, 1].
        groups, episodes, num_draws: as of estimate_mean.
    """
    rows, strata = _index_episodes(groups, episodes)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]  # nan is sorted last
    if not len(order):
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    ordered, rows = values[order], rows[order]
    weights = np.zeros((num_draws, sum(map(len, strata))), np.int64)
    for members, drawn in _draw_episodes(strata, num_draws):
        weights[:, members] = drawn
    found = [_weighted_quantile(ordered, quantile, of_draw[rows]) for of_draw in weights if of_draw[rows].any()]
    num_episodes = len(np.unique(rows))
    low, high = np.percentile(found, INTERVAL) if num_episodes > 1 else (np.nan, np.nan)
    point = _weighted_quantile(ordered, quantile, np.ones(len(ordered), np.int64))
    return Estimate(point, float(low), float(high), len(ordered), num_episodes)


def _weighted_quantile(ordered: np.ndarray, quantile: float, weights: np.ndarray) -> float:
    total = np.cumsum(weights)
    return float(ordered[np.searchsorted(total, quantile * total[-1])])


def _draw_episodes(strata: Sequence[np.ndarray], num_draws: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each stratum its episodes (E,), and how often each is in each draw, (num_draws, E)."""
    generator = np.random.default_rng(SEED)
    for members in strata:
        shares = np.full(len(members), 1.0 / len(members))
        yield members, generator.multinomial(len(members), shares, size=num_draws)


def _interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    drawn = counts > 0
    low, high = np.percentile(sums[drawn] / counts[drawn], INTERVAL)
    return low, high


def _sum_by_episode(
    values: np.ndarray, groups: Sequence[str], episodes: Sequence[tuple]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Counts and sums (E, K) by episode, and the rows of E that belong to each group; sorted, hence order-free."""
    rows, strata = _index_episodes(groups, episodes)
    known = ~np.isnan(values)
    counts, sums = (np.zeros((sum(map(len, strata)), values.shape[1])) for _ in range(2))
    order = np.lexsort(tuple(values.T) + (rows,))  # float sums must not depend on the order of the pairs
    np.add.at(counts, rows[order], known[order].astype(float))
    np.add.at(sums, rows[order], np.where(known, values, 0.0)[order])
    return counts, sums, strata


def _index_episodes(groups: Sequence[str], episodes: Sequence[tuple]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Number of the episode of each of N values, and the episodes of each group; sorted, hence order-free."""
    keys = sorted(set(zip(groups, episodes, strict=True)), key=lambda key: (key[0], [str(part) for part in key[1]]))
    position = {key: index for index, key in enumerate(keys)}
    rows = np.array([position[key] for key in zip(groups, episodes, strict=True)])
    names = sorted({group for group, _ in keys})
    return rows, [np.array([i for i, (group, _) in enumerate(keys) if group == name]) for name in names]
