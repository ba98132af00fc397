"""RoboTwin episodes in one hdf5 file: 2.0, XPolicyLab v1.0, and 1.0's conversions for RDT and pi0.

| layout     | pictures                  | colour of the JPEG bytes                     | joints                    |
|------------|---------------------------|----------------------------------------------|---------------------------|
| 2.0        | observation/<camera>/rgb  | red and blue swapped, unless marked XPL-RGB1 | joint_action/vector       |
| XPolicyLab | vision/<camera>/colors    | the same rule                                | state/*, action/*         |
| RDT, pi0   | observations/images/<cam> | true RGB (they swap before OpenCV encodes)   | observations/qpos, action |

Sources: RoboTwin stable_2.0 envs/utils/pkl2hdf5.py, issue 473, pull request 500; RoboTwin-1.0 script/pkl2hdf5_rdt.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
from msgspec import Meta

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from formats.atomic import check_regular, check_value, parse_json, read_json
from formats.pictures import check_frame, read_picture
from formats.positions import name_positions
from formats.prepared_folder import Rate, Sentence

# group of the cameras, name of the pictures in a camera's group ("" where the camera is itself the dataset)
PICTURES = {"robotwin2": ("observation", "rgb"), "xpolicylab": ("vision", "colors"), "rdt": ("observations/images", "")}
STATES = {"robotwin2": "joint_action/vector", "xpolicylab": "state", "rdt": "observations/qpos"}
ACTIONS = {"robotwin2": "joint_action/vector", "xpolicylab": "action", "rdt": "action"}
SIMULATION = "simulation"  # group of our own simulator's files: see writers.robotwin
OBJECTS = f"{SIMULATION}/objects"
ENDPOSES = ("endpose/left_endpose", "endpose/right_endpose")  # RoboTwin 2.0's
TRUE_RGB_COMMENT = b"XPL-RGB1"  # JPEG comment of RoboTwin files whose bytes are true RGB
LARGEST_PICTURES, LARGEST_TABLE, LARGEST_ATTRIBUTE = 2**33, 2**30, 2**20  # bytes; a file that declares more is damaged
MEND = "record the episode again or remove it"


@dataclass(frozen=True)
class _Attributes:
    """Attributes of a file's root that are used here."""

    task: str | None = None
    save_freq: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True)
class _Sentences:
    """RoboTwin 2.0's instructions of an episode."""

    seen: tuple[Sentence, ...] = ()
    unseen: tuple[Sentence, ...] = ()


@dataclass(frozen=True)
class Hdf5Frames:
    """Frame number => picture of one camera of an hdf5 file."""

    path: Path
    dataset: str  # of the camera's pictures
    layout: str

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB, of the same size as frame 0."""
        shape = None if index == 0 else _first_shape(self, _stamp(self.path))
        return check_frame(self._decode(index), where=f"frame {index} of {self.path}", shape=shape)

    def _decode(self, index: int) -> np.ndarray:
        content = _stored_pictures(self.path, self.dataset, _stamp(self.path))[index]
        where = f"frame {index} of {self.path}, {self.dataset}"
        if isinstance(content, np.ndarray):
            return content
        if not content:
            raise UserError(f"{where} is empty; record the episode again or remove it.")
        return read_picture(content, where).pixels if self.layout == "rdt" else decode_robotwin(content, where)


@dataclass(frozen=True)
class NoFrames:
    """Replaces the pictures of an episode that was simulated without cameras."""

    path: Path

    def __call__(self, index: int) -> np.ndarray:
        """Raises UserError: there is no such picture."""
        raise UserError(
            f"{self.path} holds motion and no pictures; dataset_tools.prepare_episodes takes it, anything else needs "
            "episodes with a camera."
        )


@dataclass(frozen=True)
class Hdf5Joints:
    """States and actions of an hdf5 file."""

    path: Path
    layout: str
    length: int

    def __call__(self) -> Joints:
        """Float64 (length, D) each; all joints of both arms side by side, however many there are.

        In our simulator's files states are the executed targets, actions those of the expert (without noise).
        """
        with open_hdf5(self.path) as file:
            states, actions = (self._table(file, names[self.layout]) for names in (STATES, ACTIONS))
            executed, measured = (self._table(file, f"{SIMULATION}/{name}") for name in ("executed", "measured"))
            objects = {name: self._table(file, f"{OBJECTS}/{name}") for name in file.get(OBJECTS, ())}
            endposes = _read_endposes(file, self.length)
        return Joints(
            states=states if executed is None else executed,
            actions=actions,
            in_force=self.layout == "robotwin2",
            measured=measured,
            objects=objects,
            endposes=endposes,
        )

    def _table(self, file: h5py.File, name: str) -> np.ndarray | None:
        if name not in file:
            return None
        columns = (
            [_read_table(file[name])] if isinstance(file[name], h5py.Dataset) else _columns(file[name], self.length)
        )
        if not columns:
            return None
        if any(column.dtype.kind not in "fiu" or not column.ndim for column in columns):
            raise UserError(f"{name} of {self.path} is no table of numbers; {MEND}.")
        if any(len(column) != self.length for column in columns):
            table = columns[0]
            raise UserError(
                f"{self.path} is cut short: {self.length} pictures but {len(table)} rows in {name}; record it again."
            )
        table = np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1).astype(np.float64)
        if not np.isfinite(table).all():
            row = int(np.argmin(np.isfinite(table).all(axis=1)))
            raise UserError(f"{name} of {self.path} is not finite (NaN or inf) in row {row}; remove this episode.")
        return table


@dataclass(frozen=True)
class Hdf5Positions:
    """Where grippers and objects are, of an hdf5 file that knows it; nothing else of the file is read."""

    path: Path
    length: int

    def __call__(self) -> dict[str, np.ndarray]:
        """Float64 (length, 3) metres by name; empty where the file has no poses."""
        with open_hdf5(self.path) as file:
            objects = {name: _read_poses(file, f"{OBJECTS}/{name}", self.length) for name in file.get(OBJECTS, ())}
            known = {name: poses for name, poses in objects.items() if poses is not None}
            return name_positions(_read_endposes(file, self.length), known)


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
        blind = camera is None and _has_motion_alone(file)
        layout, pictures = ("robotwin2", {}) if blind else _find_pictures(file, path)
        camera = "" if blind else choose_camera(camera, tuple(pictures), path)
        length = _count_frames(file, STATES[layout] if blind else pictures[camera], path)
        notes = {
            name: _plain(file.attrs[name]) for name in file.attrs if _attribute_bytes(file, name) <= LARGEST_ATTRIBUTE
        }
        attributes = check_value(notes, _Attributes, where=f"what {path} says of itself", mend=MEND)
        rate = _read_rate(file, path)
        sentences = _own_instructions(file, path)
    seen, unseen = read_seen_unseen(path)
    return Episode(
        task=attributes.task or task,
        number=number,
        length=length,
        source=path,
        read_frame=NoFrames(path) if blind else Hdf5Frames(path, pictures[camera], layout),
        instructions=seen or sentences,
        read_joints=Hdf5Joints(path, layout, length),
        read_positions=Hdf5Positions(path, length),
        cameras=tuple(pictures),
        camera=camera,
        save_freq=attributes.save_freq or save_freq,
        rate=rate,
        notes={"layout": layout, "unseen": unseen, **notes},
    )


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading.

    Raises:
        UserError: if it is absent, cut short, or no hdf5 file, also when that shows only while reading.
    """
    check_regular(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # as h5py names damage
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a whole hdf5 file ({reason}); copy or record the episode again.") from error


def read_seen_unseen(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """RoboTwin 2.0's sentences of an episode: <config>/instructions/episode<i>.json beside <config>/data/."""
    file = path.parent.parent / "instructions" / f"{path.stem}.json"
    if not file.exists():
        return (), ()
    sentences = read_json(file, _Sentences, mend='wanted {"seen": ["..."], "unseen": ["..."]}: mend or remove it')
    return sentences.seen, sentences.unseen


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


def _has_motion_alone(file: h5py.File) -> bool:
    """Whether our simulator wrote the file without cameras."""
    is_ours = SIMULATION in file and isinstance(file.get(STATES["robotwin2"]), h5py.Dataset)
    return is_ours and not any(group in file for group, _ in PICTURES.values())


def _count_frames(file: h5py.File, dataset: str, path: Path) -> int:
    stored = file[dataset]
    _check_size(stored, LARGEST_PICTURES)
    length = stored.shape[0] if stored.shape else 0
    if not length:
        raise UserError(f"{path} is an episode of no frames; remove it or record it again.")
    table = file.get("joint_action/vector")
    if isinstance(table, h5py.Dataset) and table.shape and len(table) != length:
        raise UserError(
            f"{path} is cut short: {dataset} has {length} frames, joint_action/vector {len(table)} rows; "
            f"record it again."
        )
    return length


def _columns(group: h5py.Group, length: int) -> list[np.ndarray]:
    """The group's tables of a row per frame, in the order of their names."""
    tables = [group[name] for name in sorted(group) if isinstance(group[name], h5py.Dataset)]
    tables = [table for table in tables if table.ndim in (1, 2) and table.dtype.kind in "fiu" and len(table) == length]
    return [_read_table(table) for table in tables]


def _read_table(table: h5py.Dataset) -> np.ndarray:
    _check_size(table, LARGEST_TABLE)
    return table[()]


def _read_endposes(file: h5py.File, length: int) -> np.ndarray | None:
    """(length, 2, 7) left and right tool; None where the file has no such table of finite numbers."""
    sides = [_read_poses(file, name, length) for name in ENDPOSES]
    return None if any(side is None for side in sides) else np.stack(sides, axis=1)


def _read_poses(file: h5py.File, name: str, length: int) -> np.ndarray | None:
    table = file.get(name)
    if not isinstance(table, h5py.Dataset) or table.shape != (length, 7) or table.dtype.kind != "f":
        return None
    poses = _read_table(table).astype(np.float64)
    return poses if np.isfinite(poses).all() else None


def _check_size(stored: h5py.Dataset, largest: int) -> None:
    """Refuse a declared size larger than any recording, before anything is read."""
    if stored.shape is None or stored.size * stored.dtype.itemsize > largest:
        raise UserError(
            f"{stored.name} of {stored.file.filename} declares {stored.shape} values of {stored.dtype.itemsize} bytes, "
            f"more than a recording has; {MEND}."
        )


def _attribute_bytes(file: h5py.File, name: str) -> int:
    attribute = file.attrs.get_id(name)
    return int(np.prod(attribute.shape or (1,), dtype=float)) * attribute.dtype.itemsize


def _read_rate(file: h5py.File, path: Path) -> float | None:
    """Frames per second, as XPolicyLab stores it."""
    stored = file.get("additional_info/frequency")
    if not isinstance(stored, h5py.Dataset):
        return None
    _check_size(stored, LARGEST_ATTRIBUTE)
    return check_value(_plain(stored[()]), Rate, where=f"additional_info/frequency of {path}", mend=MEND)


def _own_instructions(file: h5py.File, path: Path) -> tuple[str, ...]:
    """XPolicyLab stores the instructions as one JSON string: a list, or lists by name."""
    stored = file.get("instructions")
    if not isinstance(stored, h5py.Dataset) or stored.shape != ():
        return ()
    _check_size(stored, LARGEST_ATTRIBUTE)
    text = _plain(stored[()])
    where = f"instructions of {path}"
    if not isinstance(text, str) or not text.lstrip().startswith(("[", "{", '"')):
        return (check_value(text, Sentence, where=where, mend=MEND),)
    kind = Sentence | list[Sentence] | dict[str, Sentence | list[Sentence]]
    content = parse_json(text, kind, where=where, mend=MEND)
    if isinstance(content, dict):
        content = content.get("seen") or next(iter(content.values()), [])
    return (content,) if isinstance(content, str) else tuple(content)


def decode_robotwin(content: bytes, where: str) -> np.ndarray:
    """JPEG bytes as RoboTwin 2.0 stores them => uint8 (H, W, 3) RGB, red being red in both conventions."""
    picture = read_picture(content, where)
    if picture.image.info.get("comment") == TRUE_RGB_COMMENT:
        return picture.pixels
    # PIL swaps while it copies; numpy's [..., ::-1] would take longer than decoding the JPEG.
    swapped = picture.image.tobytes("raw", "BGR")
    return np.frombuffer(swapped, np.uint8).reshape(picture.image.height, picture.image.width, 3)


def _plain(value: object) -> object:
    """An attribute as a plain Python value that JSON takes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does, so that what is kept in memory is never stale."""
    status = check_regular(path)
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _stored_pictures(path: Path, dataset: str, stamp: tuple[int, int]) -> list[bytes | np.ndarray]:
    """All stored pictures of a camera: JPEG bytes (a few megabytes an episode) or raw arrays."""
    with open_hdf5(path) as file:
        stored = file[dataset]
        _check_size(stored, LARGEST_PICTURES)
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
