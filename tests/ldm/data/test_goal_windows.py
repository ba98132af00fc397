"""Laws of goal windows: the goal is a frame ahead with the objects as they are there, or grey and without."""

import pytest
import torch

from commands.errors import UserError
from ldm.data.goal_windows import GOAL, GoalWindows


def open_windows(folder, **changes) -> GoalWindows:
    options = {"camera": "head", "ahead": (2, 3), "drop": 0.0, "chunk": 3, "objects": 4}
    return GoalWindows(folder, "train", ("head",), **{**options, **changes})


def test_the_goal_is_some_frames_ahead_and_objects_are_told_twice(episodes):
    windows = open_windows(episodes(), more=2)
    levels = {round((float(windows[1, seed]["frames"][GOAL].mean()) + 1) / 2 * 255) for seed in range(8)}
    assert levels == {30, 40}, "frame 1 and two or three more, ten levels a frame"
    sample = windows[4, 0]
    assert round((float(sample["frames"][GOAL].mean()) + 1) / 2 * 255) == 50, "past the end the last frame"
    assert sample["object_valid"].tolist() == [True, False, True, False]
    torch.testing.assert_close(sample["objects"][2], sample["objects"][0])
    assert sample["more"][0]["objects"].shape == (4, 9) and "frames" not in sample["more"][0]
    assert windows.collate([windows[0, 0], windows[1, 1]])["objects"].shape == (2, 4, 9)
    assert [len(scale) for scale in windows.object_scales()] == [4, 4]


def test_a_dropped_goal_is_grey_and_tells_no_object(episodes):
    sample = open_windows(episodes(), drop=1.0)[1, 0]
    assert not sample["frames"][GOAL].any() and sample["object_valid"].tolist() == [True, False, False, False]
    assert not sample["objects"][2:].any()


def test_what_makes_no_goal_is_refused(episodes):
    folder = episodes()
    for change in ({"objects": 3}, {"camera": "left"}, {"ahead": (0, 3)}, {"drop": 2.0}):
        with pytest.raises(UserError, match="wanted an even number of objects"):
            open_windows(folder, **change)
