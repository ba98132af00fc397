"""Laws of shares: Wilson's printed values; the paired interval is fair, turns with the order, and covers the truth."""

import numpy as np
import pytest

from metrics.measures.shares import compare_shares, wilson_interval


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(10, 20, 0.299, 0.701), (0, 100, 0.0, 0.037), (90, 100, 0.826, 0.945), (50, 100, 0.404, 0.596)],
)
def test_wilson_intervals_are_the_printed_ones(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=6e-4)


def test_the_difference_turns_with_the_order_and_stays_in_its_bounds():
    for counts in ((36, 12, 2, 0), (0, 10, 0, 0), (5, 0, 0, 5), (0, 0, 0, 7), (1, 2, 3, 4)):
        both, first, second, neither = counts
        there, back = compare_shares(*counts), compare_shares(both, second, first, neither)
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert -1 <= there.low <= there.difference <= there.high <= 1
        assert there.difference == pytest.approx((first - second) / sum(counts)) and there.p_value == back.p_value


def test_pairs_that_agree_tell_more_than_totals():
    """80 against 70 of 100: with 70 common successes the interval is narrower than with as few as can be."""
    agreeing, scattered = compare_shares(70, 10, 0, 20), compare_shares(50, 30, 20, 0)
    assert agreeing.difference == scattered.difference == pytest.approx(0.1)
    assert agreeing.low > 0 > scattered.low


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.multinomial(100, [0.6, 0.2, 0.1, 0.1], size=300)  # truth: 0.8 - 0.7
    covered = sum(shares.low <= 0.1 <= shares.high for shares in (compare_shares(*draw.tolist()) for draw in draws))
    assert 0.92 <= covered / len(draws) <= 0.985
