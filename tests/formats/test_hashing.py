"""Laws of numbers drawn from names."""

import numpy as np

from formats.hashing import sha256_of_file, stable_fraction, stable_number


def test_the_same_name_gives_the_same_number_on_every_machine():
    """A stored value: if it moves, every split made so far moves."""
    assert stable_number("block_hammer_beat", 7) == 14308626863401976972


def test_parts_are_not_run_together():
    assert stable_number("a", "bc") != stable_number("ab", "c")


def test_fractions_are_spread_evenly_over_the_unit_interval():
    draws = np.array([stable_fraction("spread", number) for number in range(4000)])
    assert draws.min() >= 0 and draws.max() < 1
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert abs(counts - 400).max() < 5 * np.sqrt(400 * 0.9)


def test_digest_of_a_file_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf") and len(sha256_of_file(tmp_path / "abc")) == 64
