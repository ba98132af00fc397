"""Series of parquet and video files: a new file begins when the last one is large, as in LeRobot 3.0."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from formats.atomic import inside

CHUNK_SIZE = 1000  # files a chunk folder
MEGABYTE = 1024**2
CODEC, PIXELS = "libx264", "yuv420p"
# A key frame every second frame, as LeRobot has it: quick random reading. crf 18 is visually lossless.
CODEC_OPTIONS = {"crf": "18", "g": "2", "preset": "fast"}
LARGEST_DENOMINATOR = 1000  # of a frame rate; 250/15 becomes 50/3
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # a column of pictures, as `datasets` has it


class _Rolling(ABC):
    """Names the files of a series and closes the last one."""

    def __init__(self, root: Path, template: str, limit_mb: float):
        self.root, self.template, self.limit = root, template, limit_mb * MEGABYTE
        self.number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close() if error is None else self.abandon()

    @abstractmethod
    def close(self) -> None:
        """Finish and close the open file, if there is one."""

    @abstractmethod
    def abandon(self) -> None:
        """Close the open file after an error; its content is discarded."""

    def place(self) -> dict[str, int]:
        """Chunk and file number of the open file."""
        chunk, file = divmod(self.number, CHUNK_SIZE)
        return {"chunk_index": chunk, "file_index": file}

    def next_path(self) -> Path:
        """Path of the next file; its folder is made."""
        self.number += 1
        path = inside(self.root, self.template.format(**self.place()))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class RollingTable(_Rolling):
    """Parquet files of one schema; an episode is never cut in two."""

    def __init__(self, root: Path, template: str, limit_mb: float):
        super().__init__(root, template, limit_mb)
        self._writer: pq.ParquetWriter | None = None
        self._size = 0

    def write(self, table: pa.Table) -> dict[str, int]:
        """Append the rows of an episode; returns where they went."""
        if self._writer is not None and self._size + table.nbytes > self.limit:
            self.close()
        if self._writer is None:
            self._writer, self._size = pq.ParquetWriter(self.next_path(), table.schema), 0
        self._writer.write_table(table)
        self._size += table.nbytes
        return self.place()

    def close(self) -> None:
        """Finish and close the open file, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def abandon(self) -> None:
        """Close the open file after an error."""
        with suppress(OSError, pa.ArrowException):
            self.close()


class RollingVideo(_Rolling):
    """H.264 videos of one size and rate; an episode is never cut in two."""

    def __init__(self, root: Path, template: str, limit_mb: float, rate: Fraction):
        super().__init__(root, template, limit_mb)
        self.rate = rate.limit_denominator(LARGEST_DENOMINATOR)
        self._container: av.container.OutputContainer | None = None
        self._size = self._frames = 0

    def write(self, pictures: Iterable[np.ndarray]) -> dict[str, int | float]:
        """Append an episode's uint8 (H, W, 3) RGB pictures; returns file, first and last second."""
        if self._container is not None and self._size > self.limit:
            self.close()
        start = self._frames
        for pixels in pictures:
            if self._container is None:
                start = 0
                self._open(pixels.shape)
            self._mux(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
            self._frames += 1
        times = {"from_timestamp": float(start / self.rate), "to_timestamp": float(self._frames / self.rate)}
        return {**self.place(), **times}

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        if self._container is not None:
            self._mux(None)
            self._container.close()
            self._container = None

    def abandon(self) -> None:
        """Close the open file after an error; nothing more is encoded: on a full disk FFmpeg would crash."""
        if self._container is not None:
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
            self._container = None

    def _open(self, shape: tuple[int, ...]) -> None:
        self._container = av.open(str(self.next_path()), "w")
        self._stream = self._container.add_stream(CODEC, rate=self.rate, options=CODEC_OPTIONS)
        self._stream.height, self._stream.width = shape[:2]
        self._stream.pix_fmt = PIXELS
        self._size = self._frames = 0

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._size += packet.size
            self._container.mux(packet)
