"""Laws of videos: the frames come back, in number and colour; a full disk leaves nothing."""

import errno

import av
import numpy as np
import pytest
from PIL import Image

from ldm.errors import sentence_for
from ldm.video import write_video

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


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch, name):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr("ldm.video._write_gif", full)
    monkeypatch.setattr("ldm.video._write_mp4", full)
    with pytest.raises(OSError) as caught:
        write_video(tmp_path / name, frames(), 5.0)
    assert "the disk is full" in sentence_for(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "count", "rate", "message"),
    [("a.avi", 3, 5.0, "ending in .mp4 or .gif"), ("a.mp4", 0, 5.0, "no frames"), ("a.mp4", 3, 0.0, "outside")],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, count, rate, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames()[:count], rate)
