"""Laws of writing LeRobot data sets: they read back equal, here and in the lerobot package."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands.errors import UserError
from dataset_tools.episode import Joints
from dataset_tools.readers.lerobot import find_episodes
from dataset_tools.writers.lerobot import (
    Recording,
    measure_picture_stats,
    measure_stats,
    merge_stats,
    write_lerobot,
)
from tests.dataset_tools.layouts import read_index


@pytest.fixture
def recordings(episode):
    return [
        Recording({"head_camera": episode("hdf5", number=number, length=length)}, sentence)
        for number, length, sentence in ((0, 6, "beat"), (1, 9, "stack"), (5, 7, "beat"))
    ]


@pytest.mark.parametrize("pictures", ["video", "image"])
def test_what_was_written_is_read_back_equal(tmp_path, recordings, pictures):
    assert write_lerobot(recordings, tmp_path / "set", rate=5.0, pictures=pictures) == 3
    for recording, read in zip(recordings, find_episodes(tmp_path / "set"), strict=True):
        written = recording.main
        assert (read.task, read.number, read.length) == (written.task, written.number, written.length)
        assert read.instructions == (recording.instruction,) and read.frames_per_second == 5.0
        assert np.array_equal(read.joints.states, written.joints.states.astype(np.float32))
        assert np.array_equal(read.joints.actions, written.joints.actions.astype(np.float32))
        for index, frame in enumerate(read.frames()):
            assert read_index(frame) == index
            assert pictures == "video" or np.array_equal(frame, written.read_frame(index))


def test_meta_counts_what_is_there(tmp_path, recordings):
    write_lerobot(recordings, tmp_path / "set", rate=50 / 3)
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 22, 2)
    assert info["fps"] == pytest.approx(50 / 3) and info["splits"] == {"train": "0:3"}
    rows = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet").to_pydict()
    assert rows["index"] == list(range(22))
    assert rows["episode_index"] == [0] * 6 + [1] * 9 + [2] * 7
    assert rows["task_index"] == [0] * 6 + [1] * 9 + [0] * 7
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    assert stats["observation.state"]["max"][0] == 8.0 and stats["index"]["count"] == [22]


def test_the_robot_is_the_one_that_was_named(tmp_path, recordings):
    """RoboTwin's files do not say it; a LeRobot set does, and keeps it."""
    write_lerobot(recordings, tmp_path / "set", rate=5.0)
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["robot_type"] == "unknown"
    write_lerobot(recordings, tmp_path / "named", rate=5.0, robot="franka")
    again = [Recording({"front": episode}, "x") for episode in find_episodes(tmp_path / "named")]
    write_lerobot(again, tmp_path / "again", rate=5.0)
    assert json.loads((tmp_path / "again/meta/info.json").read_text())["robot_type"] == "franka"


def test_recordings_that_differ_are_refused(tmp_path, recordings, episode):
    other = replace(recordings[1].main, read_joints=Joints)
    with pytest.raises(UserError, match="differs from the first episode"):
        write_lerobot([recordings[0], Recording({"head_camera": other}, "x")], tmp_path / "set", rate=5.0)
    assert not (tmp_path / "set").exists()


@pytest.mark.reference
@pytest.mark.parametrize(("pictures", "rate"), [("video", 5.0), ("image", 5.0), ("video", 50 / 3)])
def test_the_lerobot_package_opens_it(tmp_path, recordings, pictures, rate):
    """Run with lerobot 0.4.4; its own check holds every frame's time against the row's, to 1e-4 s."""
    package = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="lerobot is not installed")
    write_lerobot(recordings, tmp_path / "set", rate=rate, pictures=pictures)
    dataset = package.LeRobotDataset("local/set", root=tmp_path / "set", video_backend="pyav")
    assert len(dataset) == 22 and dataset.num_episodes == 3
    for row, episode, index in ((0, 0, 0), (5, 0, 5), (6, 1, 0), (14, 1, 8), (21, 2, 6)):
        item = dataset[row]
        pixels = np.moveaxis((item["observation.images.head_camera"].numpy() * 255).round().astype(np.uint8), 0, -1)
        assert read_index(pixels) == index and item["task"] == recordings[episode].instruction
        state = recordings[episode].main.joints.states[index]
        assert np.array_equal(item["observation.state"].numpy(), state.astype(np.float32))


def test_merging_parts_equals_measuring_the_whole():
    values = np.random.default_rng(0).normal(size=(100, 14)) * 3 + 1
    merged = merge_stats([measure_stats(part) for part in np.split(values, [7, 8, 60])])
    for name, value in measure_stats(values).items():
        assert merged[name] == pytest.approx(value)


def test_pictures_are_measured_per_colour_in_0_to_1():
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    stats = measure_picture_stats([red, red])
    assert stats["mean"].shape == (3, 1, 1) and stats["mean"].ravel().tolist() == [1.0, 0.0, 0.0]
    assert stats["count"].tolist() == [2]
