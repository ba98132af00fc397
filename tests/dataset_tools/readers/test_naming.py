"""Laws of names: they are compared as numbers, and every episode gets one of its own."""

from dataclasses import replace
from pathlib import Path

import pytest

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.readers.naming import episode_number, name_episodes, task_of_folder


def make_episode(source: str, number: int = 0, camera: str = "head_camera") -> Episode:
    return Episode("task", number, 1, Path(source), len, camera=camera)


@pytest.mark.parametrize(
    ("name", "number"),
    [("episode0", 0), ("episode_12", 12), ("episode_0000012", 12), ("scene_info", None), ("episode", None)],
)
def test_only_names_of_episodes_have_a_number(name, number):
    assert episode_number(name) == number


@pytest.mark.parametrize(
    ("folder", "task", "save_freq"),
    [
        ("block_hammer_beat_D435_pkl", "block_hammer_beat", None),
        ("block_hammer_beat_L515_pkl", "block_hammer_beat", None),
        ("block_hammer_beat_pkl", "block_hammer_beat", None),
        ("block_hammer_beat_D435_pkl_100", "block_hammer_beat", None),
        ("block_hammer_beat_sf50_D435_pkl", "block_hammer_beat", 50),
        ("block-hammer-beat", "block_hammer_beat", None),
        ("stack_blocks_two", "stack_blocks_two", None),
        ("task_1", "task_1", None),  # a number of the task's own
        ("libero_10", "libero_10", None),
        ("libero_10_D435_pkl_100", "libero_10", None),
    ],
)
def test_the_task_is_the_folder_without_camera_rate_and_ending(folder, task, save_freq):
    assert task_of_folder(folder) == (task, save_freq)


def test_what_tells_episodes_of_one_number_apart_is_added():
    assert name_episodes([make_episode("/d/0"), make_episode("/d/1", 1)]) == ["task/0", "task/1"]
    with pytest.raises(UserError, match="twice"):
        name_episodes([make_episode("/d/0"), make_episode("/d/0")])
    clean, mixed = make_episode("/d/task/clean/data/episode0.hdf5"), make_episode("/d/task/mixed/data/episode0.hdf5")
    assert name_episodes([clean, mixed]) == ["task/0-clean", "task/0-mixed"]
    assert name_episodes([clean, replace(clean, camera="front")]) == ["task/0-head_camera", "task/0-front"]
