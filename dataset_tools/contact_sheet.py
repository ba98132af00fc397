"""Pictures of a prepared folder for the eye: contact sheet per task, motion histogram. Pillow, matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_tools.inspection import Inspection, picture_paths, spread
from formats.atomic import atomic_path, inside
from formats.pictures import read_picture
from formats.prepared_folder import FramePair

CELL = 128  # pixels, height of a picture on the sheet
CAPTION = 30  # pixels under a row
GAP = 8
COLUMNS = 3  # pairs side by side
SHEET_PAIRS = 12
DIFFERENCE_GAIN = 2  # so that small motion shows


def draw_sheet(folder: Path, pairs: Sequence[FramePair], title: str) -> Image.Image:
    """Source, target and |difference| of up to 12 pairs, evenly spread over those given."""
    chosen = spread(pairs, SHEET_PAIRS)
    tiles = [_draw_pair(folder, pair) for pair in chosen]
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + CAPTION + GAP), "white")
    ImageDraw.Draw(sheet).text((GAP, GAP), title, fill="black", font=ImageFont.load_default(16))
    for position, tile in enumerate(tiles):
        row, column = divmod(position, COLUMNS)
        sheet.paste(tile, (GAP + column * (width + GAP), CAPTION + GAP + row * (height + GAP)))
    return sheet


def write_sheets(inspection: Inspection, output: Path) -> list[Path]:
    """contact_<task>.png for each task of a folder; returns the files."""
    written = []
    for summary in inspection.tasks:
        pairs = [pair for pair in inspection.pairs if (pair.task or "unknown") == summary.task]
        path = inside(output, f"contact_{summary.task}.png", "the sheet")
        sheet = draw_sheet(
            inspection.folder, pairs, f"{summary.task}: current | future | difference x{DIFFERENCE_GAIN}"
        )
        with atomic_path(path) as draft:
            sheet.save(draft)
        written.append(path)
    return written


def write_motion_histogram(inspections: Sequence[Inspection], path: Path) -> None:
    """Histogram of mean |target - source| of each folder."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes half a second, and only this picture needs it)

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    top = max((float(np.nanmax(inspection.motion)) for inspection in inspections), default=1.0)
    edges = np.linspace(0, max(top, 1.0), 41)
    for inspection in inspections:
        axes.hist(inspection.motion, bins=edges, histtype="step", label=str(inspection.folder))
    axes.set_xlabel("motion: mean |future - current| of a pair, in 0..255")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120)


def _draw_pair(folder: Path, pair: FramePair) -> Image.Image:
    source, target = (read_picture(path).pixels for path in picture_paths(folder, pair))
    if source.shape != target.shape:
        target = np.asarray(Image.fromarray(target).resize((source.shape[1], source.shape[0])))
    difference = np.abs(target.astype(np.int16) - source.astype(np.int16)) * DIFFERENCE_GAIN
    pictures = [_to_cell(pixels) for pixels in (source, target, difference.clip(0, 255).astype(np.uint8))]
    width = sum(picture.width for picture in pictures) + 4
    tile = Image.new("RGB", (width, CELL + CAPTION), "white")
    left = 0
    for picture in pictures:
        tile.paste(picture, (left, 0))
        left += picture.width + 2
    span = f"+{pair.horizon}" if pair.horizon is not None else ""
    seconds = f" = {pair.horizon_seconds:.2f} s" if pair.horizon_seconds is not None else ""
    draw = ImageDraw.Draw(tile)
    draw.text((0, CELL + 2), f"{pair.pair_id} [{pair.split}] {span}{seconds}", fill="black")
    draw.text((0, CELL + 15), pair.instruction, fill="gray")
    return tile


def _to_cell(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels)
    width = round(picture.width * CELL / picture.height)
    resample = Image.Resampling.NEAREST if picture.height < CELL else Image.Resampling.LANCZOS
    return picture.resize((width, CELL), resample)
