"""Atomic writing of files and folders, and safe reading of untrusted files. Standard library, msgspec.

Writing goes to a temporary name, which is renamed at the end. Reading accepts only regular files,
JSON of the expected types, and names that stay inside their folder.
"""

import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from commands.errors import MissingFileError, UserError

T = TypeVar("T")

CHUNK = 2**20  # bytes read at once
LARGEST_JSON = 256 * 1024**2  # bytes of one JSON file
LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes of a part, and of a whole relative path, that file systems take
SUFFIX_ROOM = 40  # bytes that a temporary name adds to the last part
HALF_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # may be half a letter, which no file can hold


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary name beside `path` to write to; renamed to `path` when the block ends well, removed when it does not.

    The temporary name ends in the same suffix as `path` (writers choose a format by it) and is unique to the
    process, so two writers of one file cannot mix their bytes.

    Raises:
        OSError: as the block raised it (a full disk, say), after the half-written file was removed; it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:  # libraries name the temporary file, or none
        if error.errno is not None and error.filename in (None, str(draft)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def draft_folder(output: Path) -> Iterator[Path]:
    """Empty folder `<output>.partial` to write into; renamed to `output` when the block ends well.

    Removed where the block fails; what a killed run left under the temporary name is deleted first.

    Raises:
        UserError: if `output` exists and is not an empty folder.
    """
    output = Path(output).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty; delete it or choose another --output.")
    draft = output.with_name(output.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None and str(draft) in f"{error.filename or draft}":
            raise OSError(error.errno, error.strerror, str(output)) from error  # not its temporary name
        raise
    if output.exists():
        output.rmdir()
    draft.rename(output)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; non-ASCII letters stay readable."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, values: Iterable[Any]) -> None:
    """Write JSON lines atomically; non-ASCII letters stay readable."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def check_regular(path: Path) -> os.stat_result:
    """Status of a regular file; call it before a library that would block on a pipe opens the file.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it is no regular file.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"there is no {path}; check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file; remove it or choose another path.")
    return status


def read_file(path: Path, largest: int | None = None, *, seconds: float | None = None) -> bytes:
    """Bytes of a regular file; a pipe or a device, which might never end, is refused without waiting.

    Args:
        path: the file.
        largest: bytes that it may have; None takes any size.
        seconds: reading takes no longer; None takes any time.

    Raises:
        MissingFileError: if there is no such file.
        UserError: if it cannot be read, is no regular file, or is larger.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise IsADirectoryError
            if largest is not None and status.st_size > largest:
                raise UserError(f"{path} has {status.st_size} bytes, at most {largest} are read; it is too large.")
            return stream.read() if seconds is None else _read_within(stream, seconds, path)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"there is no {path}; check the path.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is no regular file; remove it or choose another path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, UserError):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{path} cannot be read ({reason}); check the path and its permissions.")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else a pipe waits for its writer


def _read_within(stream: BinaryIO, seconds: float, path: Path) -> bytes:
    content, deadline = bytearray(), time.monotonic() + seconds
    while chunk := stream.read(CHUNK):
        content += chunk
        if time.monotonic() > deadline:
            raise UserError(f"{path} could not be read within {seconds:g} seconds; copy it to a quicker disk.")
    return bytes(content)


def read_json(path: Path, kind: type[T] = dict, *, mend: str = "mend it or write it again") -> T:
    """Content of a JSON file, checked against a type.

    Args:
        path: a file of one JSON value in UTF-8.
        kind: a type that msgspec knows: dict, a dataclass (unknown keys are ignored), a union, with limits by Meta.
        mend: what the user can do where the file is damaged.

    Raises:
        UserError: if the file is absent, no JSON, or of other types; the message says where in the file.
    """
    return parse_json(_text(path, read_file(path, LARGEST_JSON), mend), kind, where=str(path), mend=mend)


def read_jsonl(path: Path, kind: type[T] = dict, *, mend: str = "mend the line or write the file again") -> list[T]:
    r"""Values of a file of JSON lines, each checked against a type; blank lines are skipped.

    Lines end at "\n" only: a sentence may hold U+2028 and other line ends that are letters to JSON.

    Raises:
        UserError: as `read_json`; the message names the line.
    """
    return parse_jsonl(read_file(path), kind, path=path, mend=mend)


def parse_jsonl(content: bytes, kind: type[T] = dict, *, path: Path, mend: str) -> list[T]:
    """As `read_jsonl`, of bytes that were read from `path`."""
    lines = _text(path, content, mend).split("\n")
    return [
        parse_json(line, kind, where=f"{path}, line {number},", mend=mend)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def parse_json(text: str, kind: type[T] = dict, *, where: str, mend: str) -> T:
    """Value of a JSON text, checked against a type; `where` names the text in the message.

    Raises:
        UserError: if it is no JSON or of other types.
    """
    try:
        value = json.loads(text)  # not msgspec's own reader, which knows no NaN and no Infinity
        if HALF_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{where} is not as it should be ({reason}); {mend}.") from error
    return check_value(value, kind, where=where, mend=mend)


def check_value(value: Any, kind: type[T], *, where: str, mend: str) -> T:
    """A value from an untrusted file, converted to a type that msgspec knows.

    Raises:
        UserError: if it is of other types or outside their limits; the message says where in the value.
    """
    try:
        return msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{where} is not as it should be ({reason}); {mend}.") from error


def check_name(name: str, what: str = "the name") -> str:
    """The name itself, if it is a relative path that stays inside the folder it is joined to.

    Raises:
        UserError: if it is empty, absolute, too long, climbs by "..", or holds characters that no name may have.
    """
    parts = name.split("/")
    encoded = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    is_sound = (
        all(part not in ("", ".", "..") for part in parts)
        and not any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in name)
        and sum(encoded) + len(parts) <= LONGEST_PATH
        and max(encoded) <= LONGEST_NAME
        and encoded[-1] <= LONGEST_NAME - SUFFIX_ROOM
    )
    if not is_sound:
        shown = repr(name if len(name) <= 80 else name[:80] + "...")
        raise UserError(f"{what} {shown} is no path inside its folder; take out '..', leading '/' and odd letters.")
    return name


def inside(root: Path, name: str, what: str = "the name") -> Path:
    """`root / name`, for a name that somebody else chose.

    Raises:
        UserError: if the path would leave `root`, as `check_name` says.
    """
    return Path(root) / check_name(name, what)


def _text(path: Path, content: bytes, mend: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); {mend}.") from error
