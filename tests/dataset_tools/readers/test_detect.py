"""Laws of finding out what a folder holds, and of names: each episode gets one of its own."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.readers.detect import READERS, ReadingRequest, detect_layout, find_episodes, read_episodes
from dataset_tools.readers.naming import episode_number, name_episodes, task_of_folder
from tests.dataset_tools.layouts import LAYOUTS, read_index

EXPECTED = {
    "pkl": "robotwin",
    "hdf5": "robotwin",
    "hdf5_true_rgb": "robotwin",
    "xpolicylab": "robotwin",
    "rdt": "robotwin",
    "flat_frames": "frames",
    "frame_folders": "frames",
    "raw_frames": "frames",
    "clip": "clips",
    "lerobot_2": "lerobot",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_out_and_read(tmp_path, episode_file, layout):
    """The law of all readers: 12 uint8 RGB frames of one size, the square in column i of frame i."""
    episode_file(layout, length=12)
    assert detect_layout(tmp_path / "data") == EXPECTED[layout]
    (episode,) = find_episodes(tmp_path / "data")
    assert episode.task == "block_hammer_beat" and episode.number == 0 and episode.length == 12
    for index, frame in enumerate(episode.frames()):
        assert frame.dtype == np.uint8 and frame.shape == (48, 64, 3) and read_index(frame) == index


def test_two_layouts_in_one_folder_need_a_choice(tmp_path, episode_file):
    episode_file("hdf5")
    episode_file("flat_frames", number=1)
    with pytest.raises(UserError, match=r"robotwin, frames.*--format"):
        find_episodes(tmp_path / "data")
    assert [episode.number for episode in find_episodes(tmp_path / "data", layout="frames")] == [1]


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("auto", "no episodes under .*hdf5.*LeRobot.*frames"),
        ("robotwin", "no RoboTwin episodes under"),
        ("frames", "no extracted frames"),
        ("lerobot", "info.json is missing"),
    ],
)
def test_nothing_is_an_error_that_says_what_was_looked_for(tmp_path, layout, says):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=says):
        find_episodes(tmp_path, layout=layout)
    with pytest.raises(UserError, match="no folder"):
        find_episodes(tmp_path / "absent", layout=layout)


def test_a_new_reader_is_one_module_and_one_line(tmp_path, episode, monkeypatch):
    found = [episode("hdf5")]
    toy = SimpleNamespace(
        HOLDS="toys (*.toy)",
        holds_episodes=lambda folder: any(folder.glob("*.toy")),
        find_episodes=lambda folder, *, camera=None, save_freq=None: found,
    )
    monkeypatch.setitem(READERS, "toy", toy)
    (tmp_path / "toys").mkdir()
    with pytest.raises(UserError, match=r"toys \(\*.toy\)"):
        find_episodes(tmp_path / "toys")
    (tmp_path / "toys" / "a.toy").touch()
    assert read_episodes(ReadingRequest((tmp_path / "toys",))) == found


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
