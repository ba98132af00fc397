"""Laws of videos: frames come back in number and colour, in any order of asking; a full disk leaves nothing."""

import os
import random
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from commands.errors import UserError, sentence_for
from formats.video import VideoFrames, open_video, write_video
from tests.dataset_tools.layouts import read_index, square_frames
from tests.dataset_tools.layouts import write_video as write_episode_video

SHADES = (20, 120, 220)


def frames(height=32, width=48):
    """Red rising over three frames."""
    made = [np.zeros((height, width, 3), np.uint8) for _ in SHADES]
    for frame, shade in zip(made, SHADES, strict=True):
        frame[..., 0] = shade
    return made


@pytest.mark.parametrize("size", [(32, 48), (31, 47)])
def test_mp4_holds_every_frame_in_its_colour(tmp_path, size):
    """Odd sides are padded to even ones, as H.264 wants."""
    write_video(tmp_path / "a.mp4", frames(*size), 5.0)
    with av.open(str(tmp_path / "a.mp4")) as video:
        assert float(video.streams.video[0].average_rate) == 5.0
        read = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape[:2] for frame in read] == [(32, 48)] * 3
    for frame, shade in zip(read, SHADES, strict=True):
        assert abs(int(frame[8, 8, 0]) - shade) <= 8 and frame[8, 8, 1] <= 16


def test_gif_holds_every_frame_in_its_time(tmp_path):
    write_video(tmp_path / "a.gif", frames(), 5.0)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.info["duration"] == 200
        gif.seek(2)
        assert gif.convert("RGB").getpixel((5, 5)) == (220, 0, 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_full_disk_leaves_the_old_video_and_says_so(tmp_path, name):
    """The encoder's own write fails: the temporary file is the device on which no byte finds room."""
    path = tmp_path / name
    path.write_bytes(b"old")
    path.with_name(f".a.{os.getpid()}.partial{path.suffix}").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    with pytest.raises(OSError) as caught:
        write_video(path, noise, 5.0)
    sentence = sentence_for(caught.value)
    assert "the disk is full" in sentence and str(path) in sentence and "partial" not in sentence
    assert [file.name for file in tmp_path.iterdir()] == [name] and path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "count", "rate", "message"),
    [("a.avi", 3, 5.0, "ending in .mp4 or .gif"), ("a.mp4", 0, 5.0, "no frames"), ("a.mp4", 3, 0.0, "outside")],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, count, rate, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames()[:count], rate)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    write_episode_video(path, square_frames(50), key_frame_every=20, b_frames=3)
    return path


def test_any_order_of_asking_gives_the_frames_asked_for(video):
    """Forwards, backwards, at random: with B-frames and few key frames."""
    numbers = [*range(50), *range(49, -1, -1), *random.Random(0).sample(range(50), 50)]
    decoder = open_video(video)
    assert [read_index(decoder.read_frame(number)) for number in numbers] == numbers


def test_an_episode_may_begin_inside_a_video(video):
    frames = VideoFrames(video, start=30)
    assert [read_index(frames(index)) for index in range(20)] == list(range(30, 50))


def test_times_find_the_nearest_frame_and_none_lies_beyond_the_end(video):
    decoder = open_video(video)
    assert decoder.rate == 10 and decoder.length == 50 and decoder.size == (48, 64)
    assert [decoder.frame_at(seconds) for seconds in (0.0, 1.04, 1.06, 99.0)] == [0, 10, 11, 49]
    with pytest.raises(UserError, match="has 50 frames, asked for frame 50"):
        decoder.read_frame(50)


def test_a_video_without_its_index_and_what_is_none_are_named(video, tmp_path):
    """The index (moov) stands at the end: what a killed recorder leaves has none."""
    video.write_bytes(video.read_bytes()[:-2000])
    with pytest.raises(UserError, match="index is broken or missing"):
        open_video(video)
    (tmp_path / "x.mp4").write_text("text")
    for name in ("x.mp4", "absent.mp4"):
        with pytest.raises(UserError, match=name):
            open_video(tmp_path / name)


def test_a_video_whose_pictures_are_damaged_is_named(video):
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 700
    content[start : start + 2000] = b"\xff" * 2000
    video.write_bytes(content)
    with pytest.raises(UserError, match="clip.mp4"):
        for number in range(50):
            assert read_index(open_video(video).read_frame(number)) == number
