"""Laws of files that a new one follows."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands.errors import sentence_for
from dataset_tools.writers.lerobot import Recording, write_lerobot
from dataset_tools.writers.rolling_files import RollingTable, RollingVideo, _Rolling
from formats.video import open_video
from tests.dataset_tools.layouts import read_index, square_frames

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
        write_lerobot([Recording({"head": noisy}, "x")], tmp_path / "set", rate=5.0, pictures=pictures)
    assert f"the disk is full, nothing half-written was kept ({tmp_path / 'set'})" in sentence_for(caught.value)
    assert not list(tmp_path.glob("set*"))
