import numpy as np

from metrics.measures.wrap_around import looks_wrapped, speck_share
from tests.metrics.conftest import moving_square, noisy_picture


def _bright(noise: float) -> np.ndarray:
    values = 250 + np.random.default_rng(0).normal(0, noise, (64, 64, 3))
    return np.rint(values).astype(np.int64)


def test_values_beyond_255_cast_without_clamping_are_found():
    truth = np.clip(_bright(1.0), 0, 255).astype(np.uint8)
    wrapped = (_bright(4.0) % 256).astype(np.uint8)
    clamped = np.clip(_bright(4.0), 0, 255).astype(np.uint8)
    assert looks_wrapped(wrapped, truth)
    assert not looks_wrapped(clamped, truth)


def test_sharp_edges_and_noise_are_no_wrap_around():
    truth = moving_square(7, 64)
    assert not looks_wrapped(moving_square(3, 64, (0, 0, 0)), truth)
    assert not looks_wrapped(noisy_picture(0, 64), truth)
    assert not looks_wrapped(truth, truth)


def test_share_counts_values_that_jump_away_from_both_neighbours():
    frame = np.full((1, 12, 3), 250, np.uint8)
    frame[0, 5, 0] = 2
    assert speck_share(frame) == 1 / 30
    assert speck_share(frame[:, :2]) == 0.0
