"""Laws of finding out what a folder holds."""

from types import SimpleNamespace

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.readers.detect import READERS, ReadingRequest, detect_layout, find_episodes, read_episodes
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
