"""Unpickling that can only make numpy arrays and plain Python containers.

A pickle is a program. RoboTwin's pickles call three numpy names (checked with pickletools on real files), so a
reader that refuses every other name cannot be made to run anything. CALVIN's annotations add numbers of numpy.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from commands.errors import UserError
from formats.atomic import read_file

ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,  # numpy 1
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,  # numpy 2
    ("numpy.core.multiarray", "scalar"): multiarray.scalar,  # one number, numpy 1
    ("numpy._core.multiarray", "scalar"): multiarray.scalar,  # numpy 2
    ("numpy.core.numeric", "_frombuffer"): numeric._frombuffer,  # protocol 5, numpy 1
    ("numpy._core.numeric", "_frombuffer"): numeric._frombuffer,  # protocol 5, numpy 2
}


class RefusedPickleError(pickle.UnpicklingError):
    """A pickle that asks for a name outside the allow-list."""


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler of numpy arrays, numbers, strings, lists and dicts; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The allowed object of that name."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise RefusedPickleError(f"{module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """Content of a pickle of numpy arrays and plain containers.

    Raises:
        UserError: if the file is absent, damaged, or asks for anything but numpy arrays.
    """
    return _load(io.BytesIO(read_file(path)), path)


def read_object(path: Path) -> Any:
    """Python object that `numpy.save` wrote as an array of one object: a pickle behind the header of a .npy file.

    Raises:
        UserError: as `read_pickle`, and if the file holds anything else.
    """
    stream = io.BytesIO(read_file(path))
    try:
        version = np.lib.format.read_magic(stream)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
        shape, _, dtype = read_header(stream) if read_header else (None, None, None)
    except ValueError as error:
        raise UserError(f"{path} is no array of numpy ({error}); copy it again.") from error
    if shape != () or not dtype.hasobject:
        raise UserError(f"{path} holds no single object; copy it again.")
    array = _load(stream, path)
    if not isinstance(array, np.ndarray) or array.shape != ():
        raise UserError(f"{path} holds no single object; copy it again.")
    return array.item()


def _load(stream: io.BytesIO, path: Path) -> Any:
    try:
        return ArrayUnpickler(stream).load()
    except RefusedPickleError as error:
        raise UserError(
            f"{path} asks to load '{error}', which numpy arrays do not need: refused, nothing was run. "
            f"Take episodes only from a source you trust, or delete this file."
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(
            f"{path} is not a whole pickle ({type(error).__name__}: {error}); copy or record the episode again."
        ) from error
