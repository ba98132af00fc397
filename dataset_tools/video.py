"""Frames of a video by number, exactly. PyAV.

A frame's number is its rank among the presentation times of all packets, read once without decoding. So frame 17 is
the eighteenth picture a viewer sees, whatever the rate in the header says; seeking goes to the key frame before it
and decodes on. Reading in order decodes each frame once.
"""

import bisect
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from commands.errors import UserError

SEEK_AHEAD = 32  # frames: decoding this far is cheaper than seeking
OPEN_VIDEOS = 4  # decoders kept open in a process


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
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
    return _open_video(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=OPEN_VIDEOS)
def _open_video(path: Path, changed: int, size: int) -> VideoDecoder:
    return VideoDecoder(path)
