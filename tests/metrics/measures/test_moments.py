import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from metrics.measures import moments
from metrics.measures.moments import GAUSSIAN, ROWS, UNIFORM, walk_moments


def _put_together(x, y, window):
    """(4, C, H - 2 r, W - 2 r) of all strips, and the rows that they said they were."""
    rows, parts = zip(*walk_moments(x, y, window), strict=True)
    fields = ("means", "squares", "covariance", "variances")
    return np.stack([np.concatenate([getattr(part, name) for part in parts], axis=1) for name in fields]), rows


@pytest.fixture
def pictures():
    """Two uint8 pictures of more rows and columns than a strip has, and no multiple of it."""
    return np.random.default_rng(0).integers(0, 256, (2, 2 * ROWS + 15, ROWS + 17, 3), dtype=np.uint8)


@pytest.mark.parametrize("window", [GAUSSIAN, UNIFORM], ids=lambda w: w.name)
def test_moments_are_those_of_the_definition(pictures, window):
    """Weighted sums over every whole window, written out."""
    weights = np.outer(window.weights, window.weights)
    side = len(window.weights)
    patches = sliding_window_view(pictures.astype(float), (side, side), axis=(1, 2))
    x, y = np.moveaxis(patches, 3, 1)

    def mean(values):
        return (values * weights).sum(axis=(-1, -2))

    covariance = window.covariance_norm * (mean(x * y) - mean(x) * mean(y))
    variances = window.covariance_norm * (mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2)
    expected = np.stack([2 * mean(x) * mean(y), mean(x) ** 2 + mean(y) ** 2, 2 * covariance, variances])
    found, rows = _put_together(*pictures, window)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-8)
    assert [part.start for part in rows] == list(range(0, found.shape[2], ROWS)) and rows[-1].stop == found.shape[2]


def test_products_in_parts_are_the_whole_product(pictures, monkeypatch):
    whole, _ = _put_together(*pictures, GAUSSIAN)
    monkeypatch.setattr(moments, "MAX_PRODUCT", 5000)
    np.testing.assert_allclose(_put_together(*pictures, GAUSSIAN)[0], whole, rtol=1e-12, atol=1e-9)


def test_float_pictures_have_the_moments_of_their_levels(pictures):
    of_bytes, _ = _put_together(*pictures, GAUSSIAN)
    of_floats, _ = _put_together(*pictures.astype(float), GAUSSIAN)
    assert (of_bytes == of_floats).all()
