"""Laws of windows: the actions that follow a frame, nothing past the end, chance from the seed alone."""

import numpy as np
import pytest
import torch

from commands.errors import UserError
from ldm.data.windows import EpisodeWindows, pose_numbers
from tests.ldm.data.conftest import LENGTH, D


def open_windows(folder, **changes) -> EpisodeWindows:
    return EpisodeWindows(folder, "train", **{"cameras": ("head",), "chunk": 3, "objects": 2, **changes})


def test_a_window_holds_the_frame_and_the_actions_that_follow_it(episodes):
    windows = open_windows(episodes())
    assert len(windows) == 2 * (LENGTH - 1), "the last frame has no action"
    sample = windows[6]  # frame 1 of the second episode
    assert sample["pair_id"] == "push/1/1"
    assert sample["frames"]["head"][0, 0, 0] == pytest.approx(2 * 10 / 255 - 1)
    torch.testing.assert_close(sample["command"], torch.full((D,), 0.1))
    torch.testing.assert_close(sample["measured"], torch.full((D,), 0.11))
    torch.testing.assert_close(sample["actions"][:, 0], torch.tensor([0.2, 0.3, 0.4]))
    assert sample["action_valid"].all() and sample["object_valid"].tolist() == [True, False]


def test_past_the_end_actions_repeat_and_are_not_valid(episodes):
    sample = open_windows(episodes())[4]
    torch.testing.assert_close(sample["actions"][:, 0], torch.tensor([0.5, 0.5, 0.5]))
    assert sample["action_valid"].tolist() == [True, False, False]


def test_fewer_windows_and_episodes_where_asked(episodes):
    folder = episodes()
    assert len(open_windows(folder, every=2)) == 2 * 3
    assert len(open_windows(folder, max_episodes=1)) == LENGTH - 1


def test_windows_begin_at_frames_that_were_drawn(episodes):
    """Numbers are there at every frame, pictures at every third; a policy without pictures begins anywhere."""
    folder = episodes(draw_every=3)
    windows = open_windows(folder)
    assert [windows[i]["pair_id"] for i in range(len(windows))] == ["push/0/0", "push/0/3", "push/1/0", "push/1/3"]
    assert windows[1]["frames"]["head"][0, 0, 0] == pytest.approx(2 * 30 / 255 - 1)
    assert len(open_windows(folder, cameras=())) == 2 * (LENGTH - 1)


def test_more_windows_come_without_pictures_and_with_noise(episodes):
    windows = open_windows(episodes(), more=40, object_noise=(0.01, 0.1))
    more = windows.collate([windows[0, 1], windows[1, 2]])["more"]
    assert more["command"].shape == (80, D) and len(more["instruction"]) == 80 and "frames" not in more
    assert len(more["command"][:, 0].unique()) == LENGTH - 1, "any moment"
    off = more["objects"][:, 0] - windows[0]["objects"][0]
    assert 0.005 < off[:, :3].std() < 0.02 and 0.05 < off[:, 3:].std() < 0.2
    assert (more["objects"][:, 1] == 0).all() and not more["object_valid"][:, 1].any()


def test_chance_comes_from_the_seed(episodes):
    windows = open_windows(episodes(), shift=16, brightness=0.2)
    first, again, other = windows[3, 1], windows[3, 1], windows[3, 2]
    assert torch.equal(first["frames"]["head"], again["frames"]["head"])
    assert not torch.equal(first["frames"]["head"], other["frames"]["head"])
    assert {windows[3, seed]["instruction"] for seed in range(20)} == {"push it", "shove it"}


def test_a_batch_is_stacked_by_name(episodes):
    windows = open_windows(episodes())
    batch = windows.collate([windows[0], windows[7]])
    assert batch["frames"]["head"].shape == (2, 3, 16, 16) and batch["pair_id"] == ["push/0/0", "push/1/2"]
    mean, std = windows.object_scales()
    torch.testing.assert_close(mean[0, :3], torch.tensor([0.1, 0.2, 0.8]))
    assert (std[0] > 0).all() and (mean[1] == 0).all()


def test_rotation_columns_are_those_of_the_matrix():
    quarter = np.array([[1.0, 2.0, 3.0, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]])  # 90 degrees about z
    np.testing.assert_allclose(pose_numbers(quarter)[0], [1, 2, 3, 0, 1, 0, -1, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("made", "asked", "says"),
    [
        ({}, {"chunk": 9}, "prepare the episodes with --chunk 9"),
        ({"objects": 3}, {}, "raise objects"),
        ({}, {"cameras": ("wrist",)}, "have a camera 'wrist'"),
        ({"actions": False}, {}, "no training episode|no actions"),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(episodes, made, asked, says):
    with pytest.raises(UserError, match=says):
        open_windows(episodes(**made), **asked)
