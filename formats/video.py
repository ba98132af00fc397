"""Moving pictures: mp4 (H.264) through PyAV, gif through PIL.

A video is written under a temporary name, so that a full disk never leaves half of one.
"""

import errno
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from commands.errors import UserError
from formats.atomic import atomic_path

VIDEO_SUFFIXES = (".mp4", ".gif")
MIN_RATE, MAX_RATE = 0.1, 240.0  # frames per second
QUALITY = "18"  # crf of H.264: no loss that an eye sees


def check_video_path(path: Path) -> Path:
    """The path, if it names a kind of video that can be written.

    Raises:
        ValueError: if it does not.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"--video {path}: wanted a name ending in {' or '.join(VIDEO_SUFFIXES)}.")
    return path


def check_rate(frames_per_second: float) -> float:
    """The rate, if a video can have it.

    Raises:
        ValueError: if not.
    """
    if not MIN_RATE <= frames_per_second <= MAX_RATE:
        raise UserError(f"{frames_per_second} frames per second is outside [{MIN_RATE}, {MAX_RATE:g}].")
    return frames_per_second


def write_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: float) -> None:
    """Write uint8 (H, W, 3) RGB frames of one size.

    Raises:
        ValueError: if there are no frames or the rate is impossible.
        OSError: if the disk is full; nothing is left behind.
    """
    check_video_path(path)
    frames = list(frames)
    if not frames:
        raise UserError(f"no frames for {path}.")
    check_rate(frames_per_second)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    try:
        with atomic_path(path) as draft:
            write(draft, frames, frames_per_second)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # libraries name the temporary file, or none
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write_gif(path: Path, frames: list[np.ndarray], frames_per_second: float) -> None:
    first, *others = (Image.fromarray(frame) for frame in frames)
    milliseconds = round(1000 / frames_per_second)
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _write_mp4(path: Path, frames: list[np.ndarray], frames_per_second: float) -> None:
    height, width = (side + side % 2 for side in frames[0].shape[:2])  # H.264 with 4:2:0 wants even sides
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": QUALITY}
        for frame in frames:
            below, right = height - frame.shape[0], width - frame.shape[1]
            even = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))
