import base64
import io
import re

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from metrics.reports.html import embed_figure, embed_picture, make_facts, make_notes, make_page, make_section
from tests.metrics.conftest import moving_square


def test_page_asks_the_network_for_nothing():
    figure = Figure()
    figure.subplots().plot([1, 2])
    page = make_page("t", [embed_picture(moving_square(0), "a"), embed_figure(figure, "b")])
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|/|\.)""", page)


def test_text_is_escaped():
    page = make_page("<t>", [make_section("<s>", make_facts({"<k>": "<v>"}), make_notes(["<n>"]))])
    assert not re.search(r"<[tskvn]>", page)


def test_embedded_picture_is_the_picture():
    pixels = moving_square(3)
    data = re.search(r"base64,([^\"]+)", embed_picture(pixels, 'say "x"')).group(1)
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == pixels).all()
