"""Laws of Episode."""

from pathlib import Path

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera


def make_episode(**options) -> Episode:
    return Episode("task", 0, 3, Path("x"), lambda index: np.full((2, 2, 3), index, np.uint8), **options)


def test_frames_come_in_order():
    assert [frame[0, 0, 0] for frame in make_episode().frames()] == [0, 1, 2]


def test_the_rate_is_what_the_source_states_else_250_over_save_freq_else_unknown():
    assert make_episode(rate=10.0, save_freq=50).frames_per_second == 10.0
    assert make_episode(save_freq=50).frames_per_second == 5.0
    assert make_episode().frames_per_second is None


def test_joints_are_read_once_and_only_when_asked_for():
    calls = []
    episode = make_episode(read_joints=lambda: calls.append(1) or Joints(np.zeros((3, 14))))
    assert calls == []
    assert episode.joints is episode.joints and len(calls) == 1


def test_the_head_camera_is_the_default_and_an_unknown_one_is_refused_with_the_list():
    cameras = ("front_camera", "head_camera")
    assert choose_camera(None, cameras, Path("x")) == "head_camera"
    assert choose_camera(None, ("0", "1"), Path("x")) == "0"
    assert choose_camera("front_camera", cameras, Path("x")) == "front_camera"
    with pytest.raises(UserError, match="front_camera, head_camera"):
        choose_camera("side", cameras, Path("x"))
