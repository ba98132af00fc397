"""Tensors in files, read one at a time and never executed: .safetensors, pickles of torch.save, sharded sets.

A file is mapped, not read whole, and mapped again after every WINDOW bytes, so that pages already read do not pile up:
memory stays at one tensor above what the caller keeps.
"""

import errno
import json
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from commands.errors import MissingFileError, UserError
from formats.atomic import atomic_path, inside, read_json
from stable_diffusion.torch_pickles import read_pickle

WINDOW = 128 << 20  # bytes read from a mapping before it is renewed
MAX_HEADER = 16 << 20  # bytes of a safetensors header; 0.2 MB for Stable Diffusion
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes when read."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def map(self, change: Callable[[Tensor], Tensor]) -> "LazyTensor":
        """The tensor that `change` will make of this one."""
        future = change(torch.empty(self.shape, dtype=self.dtype, device="meta"))
        return LazyTensor(tuple(future.shape), future.dtype, lambda: change(self.read()))

    @staticmethod
    def of(tensor: Tensor) -> "LazyTensor":
        """A tensor that is in memory already."""
        return LazyTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor)


LazyTensors = dict[str, LazyTensor]


def under(prefix: str, tensors: LazyTensors) -> LazyTensors:
    """The tensors whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class TensorFile:
    """Names and lazy tensors of a file, and what it says about itself."""

    tensors: LazyTensors
    metadata: dict[str, str]


@dataclass(frozen=True)
class ShardIndex:
    """An index.json beside shards: name of each tensor => name of its file."""

    weight_map: dict[str, str]


class _Window:
    """A mapped file that is opened again after WINDOW bytes."""

    def __init__(self, open_file: Callable[[], Callable[[str], Tensor]], opened: Callable[[str], Tensor] | None = None):
        self._open = open_file
        self._get = opened
        self._touched = 0

    def read(self, name: str) -> Tensor:
        if self._get is None or self._touched > WINDOW:
            self._get, self._touched = self._open(), 0
        tensor = self._get(name)
        self._touched += tensor.nbytes
        return tensor


def open_tensor_file(path: Path) -> TensorFile:
    """Names, shapes and lazy values of one file, or of the shards that an index.json lists.

    Raises:
        MissingFileError: if the file or one of its shards is absent.
        UserError: if it is truncated, no tensor file, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}.")
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in PICKLE_SUFFIXES:
        return _open_pickle(path)
    raise UserError(f"{path} is none of {', '.join(SUFFIXES)}, nor a folder in diffusers' layout.")


def _open_shards(index: Path) -> TensorFile:
    mend = "fetch it again"
    files = read_json(index, ShardIndex, mend=mend).weight_map
    shards = sorted(set(files.values()))
    strange = next((name for name in shards if Path(name).suffix not in SUFFIXES), None)
    if strange is not None:
        raise UserError(f"{index} lists {strange[:80]!r}, which is no tensor file; {mend}.")
    paths = {name: inside(index.parent, name, f"{index}: the shard") for name in shards}
    absent = [name for name, path in paths.items() if not path.is_file()]
    if absent:
        raise MissingFileError(
            f"{index} lists {len(shards)} shards, and {', '.join(absent)} is not beside it: fetch the missing ones."
        )
    tensors: LazyTensors = {}
    for path in paths.values():
        tensors.update(open_tensor_file(path).tensors)
    lost = [name for name in files if name not in tensors]
    if lost:
        raise UserError(f"{index} lists {lost[0]}, which its shard does not hold: the shards are of different models.")
    return TensorFile(tensors, {})


def _open_safetensors(path: Path) -> TensorFile:
    def open_file() -> Callable[[str], Tensor]:
        return safe_open(path, framework="pt").get_tensor

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if path.stat().st_size > length > MAX_HEADER:
        raise UserError(f"{path} declares a header of {length:,} bytes, at most {MAX_HEADER:,} are read: no weights.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            layout = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({str(error)[:200]}): half a download? Delete it and "
            "fetch it again."
        ) from error
    window = _Window(open_file)
    tensors = {
        name: LazyTensor(shape, _dtype_of(path, name, dtype), lambda name=name: window.read(name))
        for name, (shape, dtype) in layout.items()
    }
    return TensorFile(tensors, metadata)


def _dtype_of(path: Path, name: str, dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise UserError(f"{path}: {name} is of type {dtype}; wanted one of {', '.join(DTYPES)}, not quantised.")
    return DTYPES[dtype]


def _open_pickle(path: Path) -> TensorFile:
    first = read_pickle(path)
    window = _Window(lambda: read_pickle(path).tensors.__getitem__, first.tensors.__getitem__)
    tensors = {
        name: LazyTensor(tuple(tensor.shape), tensor.dtype, lambda name=name: window.read(name))
        for name, tensor in first.tensors.items()
    }
    return TensorFile(tensors, first.metadata)


def write_tensor_file(
    path: Path,
    tensors: Mapping[str, LazyTensor],
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Write a .safetensors file tensor by tensor, or a .ckpt that InstructPix2Pix's own code reads.

    Args:
        path: ends in .safetensors or .ckpt.
        tensors: what to write; a .ckpt needs all of it in memory, once.
        metadata: words about the file.
        progress: wraps the names, to show a bar.

    Raises:
        OSError: before anything is written, if the disk has no room.
        UserError: if a tensor holds NaN or Inf.
    """
    path = Path(path)
    check_room(path, sum(tensor.nbytes for tensor in tensors.values()))
    with atomic_path(path) as draft:
        if path.suffix == ".ckpt":
            state = {name: read_finite(name, tensors[name], path) for name in progress(list(tensors))}
            _save_pickle({"state_dict": state, "metadata": dict(metadata or {})}, draft)
        elif path.suffix == ".safetensors":
            _write_safetensors(draft, tensors, dict(metadata or {}), progress)
        else:
            raise UserError(f"{path}: tensor files are written as .safetensors or .ckpt.")


def _save_pickle(content: dict, path: Path) -> None:
    try:
        torch.save(content, path)
    except RuntimeError as error:  # what torch makes of a write that failed
        raise OSError(errno.ENOSPC, f"could not be written ({error})", str(path)) from error


def _write_safetensors(
    path: Path, tensors: Mapping[str, LazyTensor], metadata: dict[str, str], progress: Callable[[Iterable], Iterable]
) -> None:
    # Wide types first, so that every tensor is aligned to its own size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    offset = 0
    for name in order:
        tensor = tensors[name]
        span = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in progress(order):
            value = read_finite(name, tensors[name], path).contiguous().reshape(-1)
            file.write(value.view(torch.uint8).numpy().data)


def read_finite(name: str, tensor: LazyTensor, path: Path) -> Tensor:
    """The tensor's value.

    Raises:
        UserError: if it holds NaN or Inf.
    """
    value = tensor.read()
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise UserError(
            f"{name} holds {bad} values of {value.numel()} that are NaN or Inf ({path}): the file is damaged or its "
            "training diverged, take another one."
        )
    return value


def check_room(path: Path, wanted: int) -> None:
    """Refuse to begin a file that its disk cannot hold.

    Raises:
        OSError: with errno ENOSPC.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OSError(
            errno.ENOSPC,
            f"needs {wanted / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free; write elsewhere or free space",
            str(path),
        )
