import math

import numpy as np
import pytest

from metrics.comparison.bootstrap import estimate_mean, estimate_quantile


def _episodes(num_episodes: int, pairs_each: int) -> list[tuple]:
    return [("task", episode) for episode in range(num_episodes) for _ in range(pairs_each)]


def test_mean_is_weighted_by_sample_count_and_skips_unknown_values():
    """One episode has no interval, no value no mean."""
    values = np.array([[1.0], [2.0], [np.nan], [6.0]])
    (estimate,) = estimate_mean(values, ["a", "a", "b", "b"], [(0,), (1,), (2,), (3,)])
    assert estimate.mean == pytest.approx(3.0)
    assert (estimate.n, estimate.num_episodes) == (3, 3)
    one, none = estimate_mean(np.array([[1.0, np.nan], [2.0, np.nan]]), ["t", "t"], _episodes(1, 2))
    assert (one.mean, none.n) == (1.5, 0) and np.isnan([one.low, one.high, none.mean]).all()


def test_order_of_the_pairs_changes_nothing():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(60, 2))
    groups = ["a"] * 30 + ["b"] * 30
    episodes = [(group, i % 10) for i, group in enumerate(groups)]
    order = generator.permutation(60)
    shuffled = estimate_mean(values[order], [groups[i] for i in order], [episodes[i] for i in order])
    assert shuffled == estimate_mean(values, groups, episodes)


def test_copies_of_a_pair_within_an_episode_do_not_narrow_the_interval():
    """Ten identical pairs an episode hold no more than one."""
    values = np.random.default_rng(1).normal(size=20)
    (once,) = estimate_mean(values[:, None], ["t"] * 20, _episodes(20, 1))
    (ten,) = estimate_mean(np.repeat(values, 10)[:, None], ["t"] * 200, _episodes(20, 10))
    assert (ten.low, ten.high) == pytest.approx((once.low, once.high))


def test_interval_covers_the_mean_in_about_95_of_100_cases():
    """Synthetic episodes with a common effect; binomial bound of 4 standard deviations below, and 1 above."""
    generator, covered, num_cases = np.random.default_rng(2), 0, 300
    for _ in range(num_cases):
        effect = np.repeat(generator.normal(size=80), 3) + 0.3 * generator.normal(size=240)
        (estimate,) = estimate_mean(effect[:, None], ["t"] * 240, _episodes(80, 3), num_draws=400)
        covered += estimate.low <= 0.0 <= estimate.high
    spread = (0.95 * 0.05 / num_cases) ** 0.5
    assert 0.95 - 4 * spread <= covered / num_cases <= 0.95 + 4 * spread


def test_a_quantile_is_a_value_that_occurs_and_its_interval_draws_episodes():
    """Half of the values do not exceed the median; pairs of one episode stay together; the order changes nothing."""
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 10.0])
    groups, episodes = ["a"] * 6, [("a", i // 2) for i in range(6)]
    median = estimate_quantile(values, 0.5, groups, episodes)
    assert (median.mean, median.n, median.num_episodes) == (3.0, 5, 3)
    assert estimate_quantile(values, 0.9, groups, episodes).mean == 10.0
    assert 1.0 <= median.low < median.mean < median.high <= 10.0
    order = [5, 3, 1, 4, 2, 0]
    assert estimate_quantile(values[order], 0.5, groups, [episodes[i] for i in order]) == median
    assert math.isnan(estimate_quantile(values, 0.5, groups, [("a", 0)] * 6).low)
    assert estimate_quantile(values * np.nan, 0.5, groups, episodes).n == 0
