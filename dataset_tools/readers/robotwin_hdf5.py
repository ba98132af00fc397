"""RoboTwin episodes in one hdf5 file: 2.0, XPolicyLab v1.0, and 1.0's conversions for RDT and pi0.

| layout     | pictures                  | colour of the JPEG bytes                     | joints                    |
|------------|---------------------------|----------------------------------------------|---------------------------|
| 2.0        | observation/<camera>/rgb  | red and blue swapped, unless marked XPL-RGB1 | joint_action/vector       |
| XPolicyLab | vision/<camera>/colors    | the same rule                                | state/*, action/*         |
| RDT, pi0   | observations/images/<cam> | true RGB (they swap before OpenCV encodes)   | observations/qpos, action |

Sources: RoboTwin stable_2.0 envs/utils/pkl2hdf5.py, issue 473, pull request 500; RoboTwin-1.0 script/pkl2hdf5_rdt.py.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from dataset_tools.pictures import check_frame, decode_picture, decode_robotwin

# group of the cameras, name of the pictures in a camera's group ("" where the camera is itself the dataset)
PICTURES = {"robotwin2": ("observation", "rgb"), "xpolicylab": ("vision", "colors"), "rdt": ("observations/images", "")}
STATES = {"robotwin2": "joint_action/vector", "xpolicylab": "state", "rdt": "observations/qpos"}
ACTIONS = {"robotwin2": "joint_action/vector", "xpolicylab": "action", "rdt": "action"}


@dataclass(frozen=True)
class Hdf5Frames:
    """Frame number => picture of one camera of an hdf5 file."""

    path: Path
    dataset: str  # of the camera's pictures
    layout: str

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB, of the same size as frame 0."""
        frame = self._decode(index)
        shape = frame.shape if index == 0 else _first_shape(self, _stamp(self.path))
        if frame.shape != shape:
            raise UserError(
                f"frame {index} of {self.path} is {frame.shape[1]}x{frame.shape[0]} while frame 0 is "
                f"{shape[1]}x{shape[0]}; an episode has one frame size, so remove this episode."
            )
        return frame

    def _decode(self, index: int) -> np.ndarray:
        content = _stored_pictures(self.path, self.dataset, _stamp(self.path))[index]
        where = f"frame {index} of {self.path}, {self.dataset}"
        if isinstance(content, np.ndarray):
            return check_frame(content, where=where)
        if not content:
            raise UserError(f"{where} is empty; record the episode again or remove it.")
        decode = decode_picture if self.layout == "rdt" else decode_robotwin
        return decode(content, where=where)


@dataclass(frozen=True)
class Hdf5Joints:
    """States and actions of an hdf5 file."""

    path: Path
    layout: str
    length: int

    def __call__(self) -> Joints:
        """Float64 (length, D) each; all joints of both arms side by side, however many there are."""
        with open_hdf5(self.path) as file:
            states, actions = (self._table(file, names[self.layout]) for names in (STATES, ACTIONS))
        return Joints(states, actions)

    def _table(self, file: h5py.File, name: str) -> np.ndarray | None:
        if name not in file:
            return None
        columns = [file[name][()]] if isinstance(file[name], h5py.Dataset) else _columns(file[name], self.length)
        if not columns:
            return None
        table = np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1).astype(np.float64)
        if len(table) != self.length:
            raise UserError(
                f"{self.path} is cut short: {self.length} pictures but {len(table)} rows in {name}; record it again."
            )
        if not np.isfinite(table).all():
            row = int(np.argmin(np.isfinite(table).all(axis=1)))
            raise UserError(f"{name} of {self.path} is not finite (NaN or inf) in row {row}; remove this episode.")
        return table


def read_hdf5_episode(
    path: Path, *, task: str, number: int, camera: str | None = None, save_freq: int | None = None
) -> Episode:
    """Episode of an hdf5 file; the file's own attributes task, save_freq and seed win over the arguments.

    Args:
        path: the hdf5 file.
        task: name of the task, where the file does not hold it.
        number: episode number within the task.
        camera: which camera; None takes the head camera, or the first there is.
        save_freq: physics steps per saved frame, where the file does not hold it.

    Raises:
        UserError: if the file is damaged, of an unknown layout, or holds no frames.
    """
    with open_hdf5(path) as file:
        layout, pictures = _find_pictures(file, path)
        camera = choose_camera(camera, tuple(pictures), path)
        length = _count_frames(file, pictures, camera, path)
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        rate = float(file["additional_info/frequency"][()]) if "additional_info/frequency" in file else None
        sentences = _own_instructions(file)
    seen, unseen = read_seen_unseen(path)
    save_freq = attributes.get("save_freq", save_freq)
    return Episode(
        task=str(attributes.get("task", task)),
        number=number,
        length=length,
        source=path,
        read_frame=Hdf5Frames(path, pictures[camera], layout),
        instructions=seen or sentences,
        read_joints=Hdf5Joints(path, layout, length),
        cameras=tuple(pictures),
        camera=camera,
        save_freq=None if save_freq is None else int(save_freq),
        rate=rate,
        notes={"layout": layout, "unseen": unseen, **attributes},
    )


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading.

    Raises:
        UserError: if it is absent, cut short, or no hdf5 file, also when that shows only while reading.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} is not a whole hdf5 file ({str(error).splitlines()[0]}); copy or record the episode again."
        ) from error


def read_seen_unseen(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """RoboTwin 2.0's sentences of an episode: <config>/instructions/episode<i>.json beside <config>/data/."""
    file = path.parent.parent / "instructions" / f"{path.stem}.json"
    if not file.is_file():
        return (), ()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return tuple(content.get("seen", ())), tuple(content.get("unseen", ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f'{file} is not {{"seen": [...], "unseen": [...]}} in UTF-8 ({error}); mend or remove it.'
        ) from error


def _find_pictures(file: h5py.File, path: Path) -> tuple[str, dict[str, str]]:
    """Layout and, for each camera, the name of its pictures."""
    for layout, (group, leaf) in PICTURES.items():
        if group not in file:
            continue
        found = {name: f"{group}/{name}/{leaf}".rstrip("/") for name in file[group]}
        found = {name: dataset for name, dataset in found.items() if isinstance(file.get(dataset), h5py.Dataset)}
        if "third_view_rgb" in file:
            found["third_view"] = "third_view_rgb"  # RoboTwin 2.0 with the observer's camera on
        if found:
            return layout, found
    raise UserError(
        f"{path} holds no pictures: wanted observation/<camera>/rgb (RoboTwin 2.0), vision/<camera>/colors "
        f"(XPolicyLab) or observations/images/<camera>; it has {', '.join(file) or 'nothing'}. Choose another folder."
    )


def _count_frames(file: h5py.File, pictures: dict[str, str], camera: str, path: Path) -> int:
    length = file[pictures[camera]].shape[0]
    if not length:
        raise UserError(f"{path} is an episode of no frames; remove it or record it again.")
    table = file.get("joint_action/vector")
    if table is not None and len(table) != length:
        raise UserError(
            f"{path} is cut short: {camera} has {length} frames, joint_action/vector {len(table)} rows; "
            f"record it again."
        )
    return length


def _columns(group: h5py.Group, length: int) -> list[np.ndarray]:
    """The group's tables of a row per frame, in the order of their names."""
    tables = [group[name] for name in sorted(group) if isinstance(group[name], h5py.Dataset)]
    return [
        table[()] for table in tables if table.ndim in (1, 2) and table.dtype.kind in "fiu" and len(table) == length
    ]


def _own_instructions(file: h5py.File) -> tuple[str, ...]:
    """XPolicyLab stores the instructions as one JSON string."""
    if "instructions" not in file or not isinstance(file["instructions"], h5py.Dataset):
        return ()
    value = file["instructions"][()]
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return (text,)
    if isinstance(content, dict):
        content = content.get("seen") or next(iter(content.values()), ())
    return (content,) if isinstance(content, str) else tuple(str(sentence) for sentence in content)


def _plain(value: object) -> object:
    """An attribute as a plain Python value that JSON takes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does, so that what is kept in memory is never stale."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); it was there when the folder was listed."
        ) from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _stored_pictures(path: Path, dataset: str, stamp: tuple[int, int]) -> list[bytes | np.ndarray]:
    """All stored pictures of a camera: JPEG bytes (a few megabytes an episode) or raw arrays."""
    with open_hdf5(path) as file:
        stored = file[dataset]
        if stored.dtype.kind == "S":
            return [bytes(content) for content in stored[()]]  # numpy strips the NUL padding
        if stored.dtype.kind == "O":
            return [content if isinstance(content, bytes) else np.asarray(content).tobytes() for content in stored[()]]
        if stored.dtype == np.uint8 and stored.ndim == 2:
            return [content.tobytes().rstrip(b"\0") for content in stored[()]]
        return list(stored[()])


@lru_cache(maxsize=64)
def _first_shape(frames: Hdf5Frames, stamp: tuple[int, int]) -> tuple[int, ...]:
    return frames._decode(0).shape
