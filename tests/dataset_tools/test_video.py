"""Laws of reading videos by frame number."""

import random

import pytest

from commands.errors import UserError
from dataset_tools.video import VideoFrames, open_video
from tests.dataset_tools.layouts import read_index, square_frames, write_video


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, square_frames(50), key_frame_every=20, b_frames=3)
    return path


def test_any_order_of_asking_gives_the_frames_asked_for(video):
    """Forwards, backwards, at random: with B-frames and few key frames."""
    numbers = [*range(50), *range(49, -1, -1), *random.Random(0).sample(range(50), 50)]
    decoder = open_video(video)
    assert [read_index(decoder.read_frame(number)) for number in numbers] == numbers


def test_an_episode_may_begin_inside_a_video(video):
    frames = VideoFrames(video, start=30)
    assert [read_index(frames(index)) for index in range(20)] == list(range(30, 50))


def test_times_find_the_nearest_frame(video):
    decoder = open_video(video)
    assert decoder.rate == 10 and decoder.length == 50 and decoder.size == (48, 64)
    assert [decoder.frame_at(seconds) for seconds in (0.0, 1.04, 1.06, 99.0)] == [0, 10, 11, 49]


def test_a_frame_beyond_the_end_is_refused(video):
    with pytest.raises(UserError, match="has 50 frames, asked for frame 50"):
        open_video(video).read_frame(50)


def test_a_video_without_its_index_is_named(video):
    """The index (moov) stands at the end: what a killed recorder leaves has none."""
    video.write_bytes(video.read_bytes()[:-2000])
    with pytest.raises(UserError, match="index is broken or missing"):
        open_video(video)


def test_a_video_whose_pictures_are_damaged_is_named(video):
    content = bytearray(video.read_bytes())
    start = content.index(b"mdat") + 700
    content[start : start + 2000] = b"\xff" * 2000
    video.write_bytes(content)
    with pytest.raises(UserError, match="clip.mp4"):
        for number in range(50):
            assert read_index(open_video(video).read_frame(number)) == number


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "x.mp4").write_text("text")
    for name in ("x.mp4", "absent.mp4"):
        with pytest.raises(UserError, match=name):
            open_video(tmp_path / name)
