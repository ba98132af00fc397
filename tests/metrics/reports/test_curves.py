import numpy as np
import pytest

from metrics.reports.curves import (
    COLOURS,
    DASHES,
    HATCHES,
    MARKERS,
    Series,
    plot_curves,
    plot_histograms,
    plot_series,
    smooth,
)
from metrics.reports.runs import Curve


def test_running_mean_of_a_constant_is_the_constant_and_lags_a_ramp():
    assert smooth([3.0] * 70).tolist() == pytest.approx([3.0] * 70)
    ramp = np.arange(100.0)
    assert smooth(ramp, 5)[50] == np.mean(ramp[46:51])
    assert smooth(ramp, 5)[1] == 0.5
    assert smooth([1.0, 3.0], 50).tolist() == [1.0, 2.0]


def test_long_curves_are_shown_raw_and_smoothed():
    figure = plot_curves({"train": Curve(tuple(range(200)), tuple(range(200)))}, "loss")
    raw, smoothed = figure.axes[0].lines
    assert raw.get_alpha() < 1 and "running mean of 50" in smoothed.get_label()


def test_histogram_leaves_out_what_is_unknown_and_counts_the_rest():
    figure = plot_histograms({"a": [1.0, 2.0, float("nan"), float("inf")], "b": []}, "PSNR")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "n = 2, mean 1.5" in labels[0]


def test_intervals_stand_around_the_means():
    series = [Series("model", (2.0, 10.0), (1.0, 2.0), (0.5, np.nan), (1.25, np.nan))]
    (lines,) = plot_series(series, "epochs", "PSNR").axes[0].containers[0].lines[2]
    assert lines.get_segments()[0][:, 1].tolist() == [0.5, 1.25]


def test_rows_differ_in_more_than_colour():
    """A reader who sees no colour, or a print in grey, can still tell them apart."""
    assert len({str(d) for d in DASHES}) == len(set(MARKERS)) == len(set(HATCHES)) == len(COLOURS)


def test_a_value_that_is_not_finite_leaves_the_rest_of_the_curve():
    found = smooth([float("nan"), 1.0, float("inf"), 3.0, 5.0, 7.0], 3)
    assert np.isnan(found[0]) and found[1:].tolist() == [1.0, 1.0, 2.0, 4.0, 5.0]
    assert smooth([]).tolist() == []
