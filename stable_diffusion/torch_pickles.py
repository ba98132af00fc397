"""Files of torch.save, read without running anything that they hold.

Only tensors and plain containers are made of the pickle (`weights_only=True`). Old checkpoints of Lightning name
classes beside the weights (callbacks, omegaconf, numpy): names on a short list are replaced by an inert object, and
never imported; any other name refuses the file. Sizes that a file declares are compared with its real bytes before
anything is allocated.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from commands.errors import UserError

# Modules whose classes stand beside the weights in training checkpoints; their contents are dropped.
DROPPED_MODULES = (
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "lightning_utilities.",
    "omegaconf.",
    "numpy.",
    "pathlib.",
    "argparse.Namespace",
    "typing.Any",
    "builtins.dict",
    "builtins.int",
    "builtins.float",
    "builtins.str",
    "builtins.bool",
    "builtins.list",
    "builtins.tuple",
)
EMPTY_DICTIONARY = "collections.defaultdict"
MAX_PICKLE = 16 << 20  # bytes of the pickle beside the tensors; 0.5 MB for Stable Diffusion with AdamW's state
SMALL = 1 << 20  # bytes; a view may repeat its storage up to here
BYTE_CODECS = set(
    b"hex base64 base_64 bz2 quopri quoted_printable quotedprintable uu zip zlib".split()
)  # bytes to bytes
WRAPPERS = ("state_dict", "model_state_dict", "ema_state_dict")  # where trainers put the weights


@dataclass(frozen=True)
class PickledTensors:
    """Tensors of a pickle, still mapped to the file where it is a zip archive."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


class _Dropped:
    """Stands for an object that is of no interest; holds nothing, does nothing."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __new__(cls, *args: object, **kwargs: object) -> "_Dropped":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _empty_dictionary(*args: object) -> dict:
    return {}


def read_pickle(path: Path) -> PickledTensors:
    """Tensors of a .ckpt, .pt, .pth or .bin file by name.

    Raises:
        UserError: if the file is truncated, no such file, holds code, or no tensors.
    """
    archive = zipfile.is_zipfile(path)
    if archive:
        _check_archive(path)
    else:
        _refuse_what_is_no_pickle(path)
    unknown = _unknown_names(path) if archive else []
    refused = [name for name in unknown if not _is_dropped(name)]
    if refused:
        raise UserError(_refusal(path, refused))
    stand_ins = [(_empty_dictionary if name == EMPTY_DICTIONARY else _Dropped, name) for name in unknown]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about a pickle that it then reads or refuses
            content = torch.load(path, map_location="cpu", mmap=archive, weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(_refusal(path, [named.group(1) if named else "unknown instructions"])) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(_damage(path)) from error
    return _find_tensors(path, content)


def _check_archive(path: Path) -> None:
    """Refuse an archive that would grow when it is read: torch.save stores its members as they are.

    Raises:
        UserError: naming the member, before anything is read but the table of members.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            grown = next((m for m in members if m.compress_type != zipfile.ZIP_STORED), None)
            total = sum(member.file_size for member in members)
            pickled = [member for member in members if member.filename.endswith(".pkl")]
            if grown is not None:
                raise UserError(
                    f"{path} is no file of torch.save: {grown.filename[:80]} in it is compressed, "
                    f"{grown.compress_size:,} bytes that would become {grown.file_size:,}. Refused; take another file."
                )
            if total > path.stat().st_size or any(member.file_size > MAX_PICKLE for member in pickled):
                raise UserError(
                    f"{path} declares {total:,} bytes in {path.stat().st_size:,}, or more than {MAX_PICKLE:,} beside "
                    "its tensors: refused. Take the .safetensors file of the same model."
                )
            for member in pickled:
                _refuse_growth(path, archive.read(member))
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, UnicodeDecodeError) as error:
        raise UserError(_damage(path)) from error


def _refuse_growth(path: Path, content: bytes) -> None:
    """Refuse a pickle whose few bytes make many: what torch allows, and weights do not need."""
    name = "bytearray" if b"bytearray\n" in content else None
    if b"_codecs\nencode\n" in content:  # numpy's numbers name it, with latin1
        texts = re.finditer(rb"(?:X(?=.\0{3})|U)(.)", content, re.DOTALL)  # pickle's instructions before a short text
        starts = ((match.end() + 3 * (match.group()[:1] == b"X"), match.group(1)[0]) for match in texts)
        words = {content[start : start + length].lower().replace(b"-", b"_") for start, length in starts}
        name = "_codecs.encode" if {word.removesuffix(b"_codec") for word in words} & BYTE_CODECS else name
    if name:
        raise UserError(_refusal(path, [name]))


def _unknown_names(path: Path) -> list[str]:
    """Classes and functions that the pickle names and torch does not hold harmless."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, ["instructions that weights do not need"])) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(_damage(path)) from error


def _is_dropped(name: str) -> bool:
    return name == EMPTY_DICTIONARY or any(
        name.startswith(entry) if entry.endswith(".") else name == entry for entry in DROPPED_MODULES
    )


def _refusal(path: Path, names: list[str]) -> str:
    return (
        f"{path} holds Python code beside weights ({', '.join(names)}): refused, nothing of it was run. "
        "Take the .safetensors file of the same model."
    )


def _damage(path: Path) -> str:
    return f"{path} is not a whole checkpoint: half a download? Delete it and fetch it again."


def _refuse_what_is_no_pickle(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull` there, or fetch the file.")
    if start.lstrip()[:1] == b"<":
        raise UserError(f"{path} is a web page, not weights: the download met an error page. Fetch it again.")
    if not start.startswith(b"\x80"):  # what is no zip archive and no pickle either
        raise UserError(_damage(path))
    with path.open("rb") as file:
        _refuse_growth(path, file.read(MAX_PICKLE))


def _find_tensors(path: Path, content: Any) -> PickledTensors:
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not tensors by name: no checkpoint of a network.")
    metadata = content.get("metadata")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    tensors = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor)
    if not tensors:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise UserError(f"{path} holds no tensors by name (found {found}): no checkpoint of a network.")
    words = metadata if isinstance(metadata, Mapping) else {}
    return PickledTensors(tensors, {str(key): str(value) for key, value in words.items()})


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse a tensor whose values are not all in the file: one number that is repeated, sparse, quantised, none."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.nbytes > max(SMALL, tensor.untyped_storage().nbytes()):
        size = f"{tuple(tensor.shape)} of {tensor.dtype}"
        raise UserError(
            f"{path}: {name[:80]} is declared as {size}, whose values are not all in the file: damaged, or made to "
            "fill the memory. Take another file."
        )
