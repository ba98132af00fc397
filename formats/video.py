"""Moving pictures: mp4 (H.264) and gif written, frames of a video read by number, exactly. PyAV, PIL.

A video is written under a temporary name, so that a full disk never leaves half of one. A frame's number is its rank
among the presentation times of all packets, read once without decoding: frame 17 is the eighteenth picture that a
viewer sees, whatever the rate in the header says. Seeking goes to the key frame before it and decodes on.
"""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image

from commands.errors import UserError
from formats.atomic import atomic_path, check_regular

VIDEO_SUFFIXES = (".mp4", ".gif")
MIN_RATE, MAX_RATE = 0.1, 240.0  # frames per second
QUALITY = "18"  # crf of H.264: no loss that an eye sees
SEEK_AHEAD = 32  # frames: decoding this far is cheaper than seeking
OPEN_VIDEOS = 4  # decoders kept open in a process


def check_video_path(path: Path) -> Path:
    """The path, if it names a kind of video that can be written.

    Raises:
        UserError: if it does not.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"--video {path}: wanted a name ending in {' or '.join(VIDEO_SUFFIXES)}.")
    return path


def check_rate(frames_per_second: float) -> float:
    """The rate, if a video can have it.

    Raises:
        UserError: if not.
    """
    if not MIN_RATE <= frames_per_second <= MAX_RATE:
        raise UserError(f"{frames_per_second} frames per second is outside [{MIN_RATE}, {MAX_RATE:g}].")
    return frames_per_second


def write_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: float) -> None:
    """Write uint8 (H, W, 3) RGB frames of one size.

    Raises:
        UserError: if there are no frames or the rate is impossible.
        OSError: if the disk is full; nothing is left behind.
    """
    check_video_path(path)
    frames = list(frames)
    if not frames:
        raise UserError(f"no frames for {path}.")
    check_rate(frames_per_second)
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    with atomic_path(path) as draft:
        write(draft, frames, frames_per_second)


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


@dataclass(frozen=True)
class VideoFrames:
    """Frame number of an episode => picture of a video that holds it, perhaps among others."""

    path: Path
    start: int = 0  # number, in the video, of the episode's first frame

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` of the episode as uint8 (H, W, 3) RGB."""
        return open_video(self.path).read_frame(self.start + index)


class VideoDecoder:
    """One open video.

    Raises:
        UserError: if the file is absent, no video, or cut short.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
            # Packets outside the edit list are decoded but never shown.
            packets = (packet for packet in self._container.demux(self._stream) if not packet.is_discard)
            self._times = sorted(packet.pts for packet in packets if packet.pts is not None)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise UserError(
                f"{path} is not a whole video ({error}); its index is broken or missing, so copy or record it again."
            ) from error
        if len(self._times) < self._stream.frames:
            raise UserError(
                f"{path} is cut short: its index says {self._stream.frames} frames, {len(self._times)} are there; "
                f"copy or record it again."
            )
        self._next: int | None = None  # number of the frame that _decoding gives next
        self._decoding = iter(())

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self._times)

    @property
    def rate(self) -> float | None:
        """Frames per second that the file states: of play-back, which need not be that of the recording."""
        rate = self._stream.average_rate
        return float(rate) if rate else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._stream.codec_context.height, self._stream.codec_context.width

    def frame_at(self, seconds: float) -> int:
        """Number of the frame whose time is nearest."""
        time = seconds / self._stream.time_base
        after = bisect.bisect_left(self._times, time)
        near = [number for number in (after - 1, after) if 0 <= number < len(self._times)]
        return min(near, key=lambda number: abs(self._times[number] - time))

    def read_frame(self, number: int) -> np.ndarray:
        """Frame `number` as uint8 (H, W, 3) RGB.

        Raises:
            UserError: if it lies outside the video or cannot be decoded.
        """
        if not 0 <= number < self.length:
            raise UserError(f"{self.path} has {self.length} frames, asked for frame {number}; it is cut short.")
        try:
            if self._next is None or not self._next <= number < self._next + SEEK_AHEAD:
                self._container.seek(self._times[number], stream=self._stream)
                self._decoding = self._container.decode(self._stream)
            for frame in self._decoding:
                if frame.pts is not None and frame.pts >= self._times[number]:
                    break
            else:
                raise UserError(f"frame {number} of {self.path} cannot be decoded; copy or record it again.")
            if frame.pts != self._times[number]:
                raise UserError(f"frame {number} of {self.path} is lost; copy or record it again.")
            self._next = number + 1
            return frame.to_ndarray(format="rgb24")
        except av.error.FFmpegError as error:
            raise UserError(
                f"frame {number} of {self.path} cannot be decoded ({error}); copy or record it again."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def open_video(path: Path) -> VideoDecoder:
    """Decoder of a video; the last few stay open in this process."""
    status = check_regular(path)
    return _open_video(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=OPEN_VIDEOS)
def _open_video(path: Path, changed: int, size: int) -> VideoDecoder:
    return VideoDecoder(path)
