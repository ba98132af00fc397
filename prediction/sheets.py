"""Labelled panels side by side: comparison strips, rollout strips, sheets of guidance scales. PIL only."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BAR = 18  # pixels of a label's bar
GAP = 4  # pixels between panels
PAPER = "white"
INK = "black"
MIN_PANEL = 96  # pixels; smaller frames are enlarged so that their labels fit


def draw_panels(rows: Sequence[Sequence[np.ndarray]], labels: Sequence[Sequence[str]]) -> Image.Image:
    """Sheet of uint8 (H, W, 3) frames in rows, each under its label.

    Args:
        rows: frames of one size; rows may differ in length.
        labels: as many; a label too long for its panel is cut.
    """
    height, width = rows[0][0].shape[:2]
    scale = max(1, -(-MIN_PANEL // min(height, width)))
    size = (width * scale, height * scale)
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (size[0] + GAP) - GAP, len(rows) * (size[1] + BAR + GAP) - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for r, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for c, (frame, label) in enumerate(zip(row, names, strict=True)):
            left, top = c * (size[0] + GAP), r * (size[1] + BAR + GAP)
            pen.text((left + 2, top + 1), _fitting(label, font, size[0] - 4), fill=INK, font=font)
            panel = Image.fromarray(frame)
            sheet.paste(panel if scale == 1 else panel.resize(size, Image.Resampling.NEAREST), (left, top + BAR))
    return sheet


def _fitting(label: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    while label and font.getlength(label) > width:
        label = label[:-1]
    return label


def draw_difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): how much each pixel changes, white for nothing, dark for all."""
    change = np.abs(before.astype(np.int16) - after.astype(np.int16)).max(axis=2)
    return np.repeat((255 - change).astype(np.uint8)[..., None], 3, axis=2)
