"""Laws of writing LeRobot data sets: they read back equal, here and in the lerobot package, from several files too."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.errors import UserError, sentence_for
from dataset_tools.episode import Joints, Recording
from dataset_tools.readers.lerobot import find_episodes
from dataset_tools.writers.lerobot import (
    measure_picture_stats,
    measure_stats,
    merge_stats,
    write_lerobot,
)
from dataset_tools.writers.rolling_files import RollingTable, RollingVideo, _Rolling
from formats.video import open_video
from tests.dataset_tools.layouts import read_index, square_frames


@pytest.fixture
def recordings(episode):
    return [
        Recording({"head_camera": episode("hdf5", number=number, length=length)}, instruction=sentence)
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
    again = [Recording({"front": episode}, instruction="x") for episode in find_episodes(tmp_path / "named")]
    write_lerobot(again, tmp_path / "again", rate=5.0)
    assert json.loads((tmp_path / "again/meta/info.json").read_text())["robot_type"] == "franka"


def test_recordings_that_differ_are_refused(tmp_path, recordings):
    other = replace(recordings[1].main, read_joints=Joints)
    with pytest.raises(UserError, match="differs from the first episode"):
        write_lerobot([recordings[0], Recording({"head_camera": other}, instruction="x")], tmp_path / "set", rate=5.0)
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


DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def test_a_table_that_would_grow_too_large_begins_a_new_file(tmp_path):
    rows = pa.table({"x": list(range(1000))})
    with RollingTable(tmp_path, DATA, limit_mb=2.5 * rows.nbytes / 1024**2) as table:
        places = [table.write(rows)["file_index"] for _ in range(5)]
    assert places == [0, 0, 1, 1, 2]
    counts = [pq.read_metadata(path).num_rows for path in sorted(tmp_path.rglob("*.parquet"))]
    assert counts == [2000, 2000, 1000]


def test_videos_say_where_each_episode_begins_and_ends(tmp_path):
    with RollingVideo(tmp_path, VIDEO, 200, Fraction(50 / 3)) as video:
        places = [video.write(square_frames(length)) for length in (5, 10)]
    assert [place["file_index"] for place in places] == [0, 0]
    assert places[0]["to_timestamp"] == places[1]["from_timestamp"] == 0.3
    decoder = open_video(tmp_path / "videos/chunk-000/file-000.mp4")
    start = decoder.frame_at(places[1]["from_timestamp"])
    assert [read_index(decoder.read_frame(start + index)) for index in range(10)] == list(range(10))


def test_a_video_that_grew_too_large_is_followed_by_a_new_one(tmp_path):
    with RollingVideo(tmp_path, VIDEO, 0.0001, Fraction(10)) as video:
        places = [video.write(square_frames(5)) for _ in range(2)]
    assert [place["file_index"] for place in places] == [0, 1] and places[1]["from_timestamp"] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("pictures", ["video", "image"])
def test_a_full_disk_is_an_error_and_no_crash(tmp_path, episode, monkeypatch, pictures):
    """FFmpeg crashes the process when more is encoded after a failed write; the export leaves nothing behind."""
    real = _Rolling.next_path

    def full(self):
        path = real(self)
        if isinstance(self, RollingVideo) or pictures == "image":
            path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(_Rolling, "next_path", full)
    noisy = replace(
        episode(length=9), read_frame=lambda i: np.random.default_rng(i).integers(0, 256, (96, 96, 3), np.uint8)
    )
    with pytest.raises(OSError) as caught:
        write_lerobot([Recording({"head": noisy}, instruction="x")], tmp_path / "set", rate=5.0, pictures=pictures)
    assert f"the disk is full, nothing half-written was kept ({tmp_path / 'set'})" in sentence_for(caught.value)
    assert not list(tmp_path.glob("set*"))
