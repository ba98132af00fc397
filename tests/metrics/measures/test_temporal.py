"""Laws of temporal consistency: the truth is consistent, in any light; a still and a flickering film are not."""

import numpy as np
import pytest

from commands.errors import UserError
from metrics.measures.temporal import measure_consistency


@pytest.fixture
def film():
    """Five frames of a white bar that moves by two pixels a frame over grey."""
    frames = np.full((5, 12, 16, 3), 90, np.uint8)
    for t, frame in enumerate(frames):
        frame[:, 2 * t : 2 * t + 2] = 200
    return frames


def test_the_truth_is_consistent_in_any_light(film):
    for prediction in (film, film + 40):
        result = measure_consistency(prediction, film)
        assert result.error == 0 and result.ratio == 1
    assert result.true_change == pytest.approx(110 * 4 / 16), "two columns appear and two vanish of sixteen"


def test_a_film_that_stands_still_misses_all_change(film):
    result = measure_consistency(np.repeat(film[:1], 5, axis=0), film)
    assert (result.change, result.ratio) == (0, 0) and result.error == result.true_change
    assert np.isnan(measure_consistency(film, np.repeat(film[:1], 5, axis=0)).ratio), "nothing to compare with"


def test_flicker_shows_that_single_frames_hide(film):
    """Alternately 10 too bright and too dark, or always 10 too bright: the same error in each frame."""
    flickering = film.astype(int) + np.array([10, -10, 10, -10, 10])[:, None, None, None]
    steady = film.astype(int) + 10
    assert np.abs(flickering - film).mean() == np.abs(steady - film).mean()
    assert measure_consistency(flickering.astype(np.uint8), film).error == 20
    assert measure_consistency(steady.astype(np.uint8), film).error == 0


def test_films_of_other_sizes_are_refused(film):
    with pytest.raises(UserError):
        measure_consistency(film[:, :6], film)
