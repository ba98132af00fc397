"""Files of torch.save, read without running anything that they hold.

Only tensors and plain containers are made of the pickle (`weights_only=True`). Old checkpoints of Lightning name
classes beside the weights (callbacks, omegaconf, numpy): names on a short list are replaced by an inert object, and
never imported; any other name refuses the file. Imports torch only.
"""

import pickle
import re
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
        ValueError: if the file is truncated, no such file, holds code, or no tensors.
    """
    archive = zipfile.is_zipfile(path)
    if not archive:
        _refuse_what_is_no_pickle(path)
    unknown = _unknown_names(path) if archive else []
    refused = [name for name in unknown if not _is_dropped(name)]
    if refused:
        raise UserError(_refusal(path, refused))
    stand_ins = [(_empty_dictionary if name == EMPTY_DICTIONARY else _Dropped, name) for name in unknown]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", mmap=archive, weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(_refusal(path, [named.group(1) if named else "unknown instructions"])) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(_damage(path)) from error
    return _find_tensors(path, content)


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


def _find_tensors(path: Path, content: Any) -> PickledTensors:
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not tensors by name: no checkpoint of a network.")
    metadata = content.get("metadata")
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    tensors = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise UserError(f"{path} holds no tensors by name (found {found}): no checkpoint of a network.")
    words = metadata if isinstance(metadata, Mapping) else {}
    return PickledTensors(tensors, {str(key): str(value) for key, value in words.items()})
