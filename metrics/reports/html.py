"""The page of metrics.report: HTML, style and script in one file (report.css, report.js), no request to anywhere."""

import base64
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

FOLDER = Path(__file__).parent


def make_page(title: str, sections: Iterable[str]) -> str:
    """A whole page of sections that are HTML already."""
    style, script = ("\n" + (FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # No address is allowed, not even the page's own: what is not in the file is not shown.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + f'\n<dialog><img alt="enlarged"></dialog>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def make_section(title: str, *parts: str) -> str:
    """A heading with what stands under it."""
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def make_facts(facts: dict[str, object]) -> str:
    """A list of names and values."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>"


def make_notes(notes: Iterable[str]) -> str:
    """Sentences under a table."""
    return '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def embed_picture(pixels: np.ndarray, title: str) -> str:
    """An <img> with its uint8 (H, W, 3) pixels in it, as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(title)}" title="{escape(title)}">'


def embed_figure(figure: Figure, caption: str) -> str:
    """A <figure> with the drawing as SVG in it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = stream.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{escape(caption)}</figcaption></figure>"
