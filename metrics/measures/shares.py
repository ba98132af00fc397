"""Shares of successes with their intervals: one policy alone, and two on the same seeds.

Sources: Wilson's score interval (JASA 22, 1927); McNemar's exact test on the seeds where two policies differ
(Psychometrika 12, 1947); interval of the difference of paired shares: Newcombe (Statistics in Medicine 17, 1998,
pages 2635-2650), method 10.
"""

from dataclasses import dataclass
from math import sqrt

from scipy.stats import binomtest

LEVEL = 0.95


@dataclass(frozen=True)
class PairedShares:
    """Outcomes of two policies on the same seeds, and the difference of their shares, first less second."""

    num_seeds: int
    only_first: int  # seeds on which only the first succeeded
    only_second: int
    difference: float
    low: float  # 95% interval of the difference
    high: float
    p_value: float  # McNemar's exact test, two-sided


def wilson_interval(successes: int, num_episodes: int) -> tuple[float, float]:
    """95% interval of a share by Wilson's score."""
    interval = binomtest(successes, num_episodes).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def compare_shares(both: int, only_first: int, only_second: int, neither: int) -> PairedShares:
    """The paired comparison of a table of outcomes.

    Args:
        both, only_first, only_second, neither: seeds on which so many of the two succeeded; at least one seed.
    """
    # Notation of the source: a, b, c, d = the four counts; l, u = Wilson's bounds; phi = their correlation.
    a, b, c, d = both, only_first, only_second, neither
    n = a + b + c + d
    p_1, p_2 = (a + b) / n, (a + c) / n
    (l_1, u_1), (l_2, u_2) = wilson_interval(a + b, n), wilson_interval(a + c, n)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    product = a * d - b * c
    phi = (max(product - n / 2, 0) if product > 0 else product) / sqrt(margins) if margins else 0.0
    below = _length(p_1 - l_1, u_2 - p_2, phi)
    above = _length(u_1 - p_1, p_2 - l_2, phi)
    difference = (b - c) / n
    p_value = float(binomtest(b, b + c).pvalue) if b + c else 1.0
    return PairedShares(n, b, c, difference, difference - below, difference + above, p_value)


def _length(first: float, second: float, phi: float) -> float:
    """Third side of a triangle whose other two enclose an angle of cosine phi."""
    return sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))
