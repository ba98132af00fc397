"""Laws of the pictures for the eye."""

import numpy as np
from PIL import Image

from dataset_tools.contact_sheet import CAPTION, CELL, GAP, draw_sheet, write_motion_histogram, write_sheets
from dataset_tools.inspection import inspect_folder
from tests.dataset_tools.layouts import RED


def test_the_sheet_shows_current_future_and_difference(prepared):
    folder = prepared("--horizon", "5", "--picture-format", "png", count=1)
    inspection = inspect_folder(folder)
    sheet = np.asarray(draw_sheet(folder, inspection.pairs[:1], "title"))
    top, width = CAPTION + GAP, round(64 * CELL / 48)
    cells = [sheet[top : top + CELL, GAP + k * (width + 2) : GAP + k * (width + 2) + width] for k in range(3)]
    scale = CELL / 48
    for cell, column in zip(cells[:2], (0, 5), strict=True):
        shown = cell[round(24 * scale), round((column + 4) * scale)]
        assert np.abs(shown.astype(int) - RED).max() < 12  # the recording was a JPEG
    assert cells[2][round(24 * scale), round(2 * scale)].max() > 200 and cells[2][2, -2].max() < 12


def test_each_task_has_a_sheet_of_at_most_12_pairs(tmp_path, prepared):
    folder = prepared("--horizon", "2", tasks=("block_hammer_beat", "block_handover"), count=2)
    written = write_sheets(inspect_folder(folder), tmp_path / "sheets")
    assert [path.name for path in written] == ["contact_block_hammer_beat.png", "contact_block_handover.png"]
    rows = 4
    assert Image.open(written[0]).height == rows * (CELL + CAPTION + GAP) + CAPTION + GAP


def test_the_histogram_is_drawn(tmp_path, prepared):
    write_motion_histogram([inspect_folder(prepared(count=1))], tmp_path / "motion.png")
    assert Image.open(tmp_path / "motion.png").width > 400
