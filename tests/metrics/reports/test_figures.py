"""Laws of figures, grids and pages."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from metrics.reports.figures import (
    COLOURS,
    DASHES,
    HATCHES,
    MARKERS,
    GridColumn,
    Series,
    make_grid,
    plot_histograms,
    plot_series,
    save_figure,
    smooth,
)
from metrics.reports.html import embed_figure, embed_picture, make_facts, make_notes, make_page, make_section
from tests.metrics.conftest import moving_square


def test_running_mean_of_a_constant_is_the_constant_and_lags_a_ramp():
    """A value that is not finite leaves the rest of the curve."""
    assert smooth([3.0] * 70).tolist() == pytest.approx([3.0] * 70)
    ramp = np.arange(100.0)
    assert smooth(ramp, 5)[50] == np.mean(ramp[46:51])
    assert smooth(ramp, 5)[1] == 0.5
    assert smooth([1.0, 3.0], 50).tolist() == [1.0, 2.0]
    found = smooth([float("nan"), 1.0, float("inf"), 3.0, 5.0, 7.0], 3)
    assert np.isnan(found[0]) and found[1:].tolist() == [1.0, 1.0, 2.0, 4.0, 5.0]
    assert smooth([]).tolist() == []


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


def test_grid_has_a_cell_for_every_picture_and_shows_its_colour(tmp_path):
    columns = [
        GridColumn(task, (moving_square(0), moving_square(7, colour=colour), None), ("", "9.9 dB", ""))
        for task, colour in (("a task", (255, 0, 0)), ("another", (0, 0, 255)))
    ]
    files = save_figure(make_grid(["input", "prediction of some model", "truth"], columns), tmp_path / "grid")
    assert [file.name for file in files] == ["grid.png", "grid.pdf"]
    colours = Image.open(files[0]).convert("RGB").getcolors(1 << 20)
    assert {(255, 0, 0), (0, 0, 255)} <= {colour for _, colour in colours}
    assert files[1].read_bytes().startswith(b"%PDF")


def test_page_asks_the_network_for_nothing():
    figure, pixels = Figure(), moving_square(0)
    figure.subplots().plot([1, 2])
    page = make_page("t", [embed_picture(pixels, 'say "x"'), embed_figure(figure, "b")])
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|/|\.)""", page)
    data = re.search(r"base64,([^\"]+)", embed_picture(pixels, 'say "x"')).group(1)
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == pixels).all()


def test_text_is_escaped():
    page = make_page("<t>", [make_section("<s>", make_facts({"<k>": "<v>"}), make_notes(["<n>"]))])
    assert not re.search(r"<[tskvn]>", page)
