"""The page of metrics.report: HTML, style and script in one file, no request to anywhere."""

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

STYLE = """
:root { --line: #d0d4da; --soft: #f4f5f7; --ink: #1c2024; --accent: #0072b2; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 2rem auto; max-width: 1180px; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { background: var(--soft); } .sortable th { cursor: pointer; user-select: none; }
th[aria-sort=ascending]::after { content: " \\25B2"; } th[aria-sort=descending]::after { content: " \\25BC"; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
td .interval { color: #667; font-size: .85em; } td.best { font-weight: 650; }
ul.notes { color: #445; font-size: .92em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: #556; } dd { margin: 0; overflow-wrap: anywhere; } code { background: var(--soft); padding: 0 .25em; }
.cases { display: grid; gap: .4rem; align-items: center; }
.cases { grid-template-columns: max-content repeat(4, minmax(90px, 190px)); }
.cases img, .figures svg { width: 100%; height: auto; display: block; }
.cases img { image-rendering: pixelated; cursor: zoom-in; border: 1px solid var(--line); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .88em; color: #445; }
dialog { border: 0; padding: 0; background: transparent; max-width: 96vw; max-height: 96vh; }
dialog::backdrop { background: rgba(0, 0, 0, .8); }
dialog img { width: min(92vw, 92vh); image-rendering: pixelated; cursor: zoom-out; display: block; }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") !== "descending";
    headings.forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
}
const zoom = document.querySelector("dialog");
for (const picture of document.querySelectorAll(".cases img"))
  picture.addEventListener("click", () => { zoom.firstElementChild.src = picture.src; zoom.showModal(); });
zoom.addEventListener("click", () => zoom.close());
"""


def make_page(title: str, sections: Iterable[str]) -> str:
    """A whole page of sections that are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # No address is allowed, not even the page's own: what is not in the file is not shown.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + f'\n<dialog><img alt="enlarged"></dialog>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
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
