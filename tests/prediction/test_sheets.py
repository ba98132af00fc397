"""Laws of sheets: every frame is there, whole, in its place."""

import numpy as np

from prediction.sheets import BAR, GAP, draw_difference, draw_panels


def flat(value, side=100):
    return np.full((side, side, 3), value, np.uint8)


def test_frames_stand_in_rows_under_their_labels():
    sheet = np.asarray(draw_panels([[flat(10), flat(20)], [flat(30)]], [["a", "b"], ["c"]]))
    assert sheet.shape == (2 * (100 + BAR) + GAP, 2 * 100 + GAP, 3)
    assert (sheet[BAR : BAR + 100, :100] == 10).all()
    assert (sheet[BAR : BAR + 100, 100 + GAP :] == 20).all()
    assert (sheet[100 + 2 * BAR + GAP :, :100] == 30).all()
    assert (sheet[: BAR - 2, :100] < 128).any(), "a label is written"


def test_small_frames_are_enlarged_by_whole_numbers():
    sheet = np.asarray(draw_panels([[flat(10, side=8)]], [["a label that is far too long for such a small panel"]]))
    assert sheet.shape == (96 + BAR, 96, 3)


def test_no_change_is_white_and_full_change_black():
    assert (draw_difference(flat(5), flat(5)) == 255).all()
    assert (draw_difference(flat(0), flat(255)) == 0).all()
