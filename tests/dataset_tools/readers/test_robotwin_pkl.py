"""Laws of RoboTwin 1.0 folders."""

import pickle

import numpy as np
import pytest

from dataset_tools.readers.robotwin_pkl import read_pkl_episode
from dataset_tools.readers.safe_pickle import read_pickle
from tests.dataset_tools.layouts import make_states, read_index


@pytest.fixture
def folder(episode_file):
    return episode_file("pkl", length=12)


def read(folder, **options):
    return read_pkl_episode(folder, task="task", number=0, **options)


def rewrite(path, change) -> None:
    content = read_pickle(path)
    change(content)
    path.write_bytes(pickle.dumps(content, 4))


def test_states_are_the_drive_targets_and_equal_the_actions(folder):
    joints = read(folder).joints
    assert np.array_equal(joints.states, make_states(12)) and np.array_equal(joints.actions, joints.states)


def test_single_arm_robots_have_7_joints(folder):
    for index in range(12):
        rewrite(folder / f"{index}.pkl", lambda content: content.update(joint_action=content["joint_action"][:7]))
    assert read(folder).joints.states.shape == (12, 7)


def test_recordings_without_joints_have_none(folder):
    rewrite(folder / "0.pkl", lambda content: content.pop("joint_action"))
    assert read(folder).joints.states is None


def test_another_camera_is_another_picture(folder):
    head, left = read(folder).read_frame(5), read(folder, camera="left_camera").read_frame(5)
    assert read_index(head) == read_index(left) == 5 and not np.array_equal(head, left)


@pytest.mark.real_data
def test_the_real_episode_is_red_where_the_block_is(real_episode):
    """75 frames of block_hammer_beat; the block is RGB (255, 1, 1) in the recording."""
    episode = read(real_episode / "episode0")
    frame = episode.read_frame(0).astype(int)
    red = (frame[..., 0] > 200) & (frame[..., 1] < 60) & (frame[..., 2] < 60)
    blue = (frame[..., 2] > 200) & (frame[..., 1] < 60) & (frame[..., 0] < 60)
    assert (episode.length, frame.shape, episode.joints.states.shape) == (75, (240, 320, 3), (75, 14))
    assert red.sum() > 300 and blue.sum() == 0
