"""CALVIN's data on disk (RA-L 7.3, 2022; arXiv 2112.03227) => episodes: a file a frame, sentences for some stretches.

    <split>/episode_0358482.npz                     rgb_static, rgb_gripper, robot_obs, rel_actions, ...
    <split>/ep_start_end_ids.npy                    (N, 2) first and last frame of each stretch of play
    <split>/lang_annotations/auto_lang_ann.npy      sentence, task, first and last frame of each annotated stretch

Where there are sentences, an annotated stretch is an episode of its task; else a stretch of play is one of the task
`play`. The gripper's opening and the joints stand in robot_obs beside the pose of the tool.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from commands.errors import UserError
from dataset_tools.episode import LARGEST_NUMBER, Episode, Joints, choose_camera
from dataset_tools.readers.safe_pickle import read_object
from formats.atomic import check_regular, check_value
from formats.prepared_folder import Sentence

HOLDS = "CALVIN (ep_start_end_ids.npy)"
RUNS = "ep_start_end_ids.npy"
ANNOTATIONS = Path("lang_annotations") / "auto_lang_ann.npy"
CAMERAS = ("rgb_static", "rgb_gripper")
RATE = 30.0  # frames per second, section IV of the paper
POSE = ("x", "y", "z", "roll", "pitch", "yaw")
STATE_NAMES = (*(f"tool_{name}" for name in POSE), "opening", *(f"joint_{i}" for i in range(7)), "gripper")
ACTION_NAMES = (*POSE, "gripper")  # relative, scaled to [-1, 1] by CALVIN itself
ANGLES = slice(7, 14)  # the joints among the states
MEND = "copy the data set again"
Number = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]


@dataclass(frozen=True)
class Language:
    """A sentence and a task for each annotated stretch."""

    ann: list[Sentence]
    task: list[Annotated[str, Meta(min_length=1, max_length=255)]]


@dataclass(frozen=True)
class Stretches:
    """First and last frame of each annotated stretch."""

    indx: list[tuple[Number, Number]]


@dataclass(frozen=True)
class Annotations:
    """The entries of auto_lang_ann.npy that are used here."""

    language: Language
    info: Stretches


@dataclass(frozen=True)
class CalvinFrames:
    """Frame number of an episode => picture of a camera."""

    folder: Path
    first: int
    camera: str

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB."""
        path = frame_path(self.folder, self.first + index)
        (picture,) = read_arrays(path, self.camera)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(f"{self.camera} of {path} is {picture.dtype} {picture.shape}, no picture; {MEND}.")
        return picture


@dataclass(frozen=True)
class CalvinJoints:
    """States and relative actions of an episode."""

    folder: Path
    first: int
    length: int

    def __call__(self) -> Joints:
        """States (length, 15), actions (length, 7), joint angles (length, 7)."""
        frames = (frame_path(self.folder, number) for number in range(self.first, self.first + self.length))
        rows = [read_arrays(path, "robot_obs", "rel_actions") for path in frames]
        tables = []
        for column, names in enumerate((STATE_NAMES, ACTION_NAMES)):
            found = {row[column].shape for row in rows}
            if found != {(len(names),)} or not all(np.isfinite(row[column]).all() for row in rows):
                raise UserError(
                    f"robot_obs or rel_actions of frames {self.first} to {self.first + self.length - 1} in "
                    f"{self.folder} are broken: wanted {len(names)} finite numbers, got {sorted(found)[:3]}; {MEND}."
                )
            tables.append(np.stack([row[column] for row in rows]).astype(np.float64))
        states, actions = tables
        return Joints(states, actions, states[:, ANGLES], STATE_NAMES, ACTION_NAMES)


def frame_path(folder: Path, number: int) -> Path:
    """File of a frame."""
    return folder / f"episode_{number:07d}.npz"


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of a frame's file.

    Raises:
        UserError: if the file is absent or damaged, or lacks one.
    """
    check_regular(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not as it should be ({error}); {MEND}.") from error


def dataset_roots(folder: Path) -> list[Path]:
    """Folders with ep_start_end_ids.npy: the folder itself, or those below it."""
    return [folder] if (folder / RUNS).is_file() else sorted(path.parent for path in folder.rglob(RUNS))


def holds_episodes(folder: Path) -> bool:
    """Whether there is a split of CALVIN in the folder or below it."""
    return bool(dataset_roots(Path(folder)))


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Annotated stretches, or stretches of play where none is, by task, then number.

    Raises:
        UserError: if there are none or a file is damaged.
    """
    episodes = []
    for root in dataset_roots(Path(folder).absolute()):
        stretches = _annotated(root) if (root / ANNOTATIONS).is_file() else _play(root)
        episodes += [_read(root, *stretch, camera) for stretch in stretches]
    if not episodes:
        raise UserError(f"no stretches of CALVIN under {folder}: {RUNS} is missing or empty; check the path.")
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def _annotated(root: Path) -> list[tuple[str, int, int, int, tuple[str, ...]]]:
    """Task, number, first and last frame, and sentence of each annotated stretch."""
    path = root / ANNOTATIONS
    found = check_value(_plain(read_object(path)), Annotations, where=str(path), mend=MEND)
    language, frames = found.language, found.info.indx
    if not len(language.ann) == len(language.task) == len(frames):
        raise UserError(
            f"{path} has {len(language.ann)} sentences, {len(language.task)} tasks and {len(frames)} stretches; {MEND}."
        )
    rows = zip(language.task, range(len(frames)), frames, language.ann, strict=True)
    return [(task, number, *ends, (sentence,)) for task, number, ends, sentence in rows]


def _plain(value: Any) -> Any:
    """Containers and arrays as lists and numbers; embedded sentences (`emb`) are left out."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "emb"}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _play(root: Path) -> list[tuple[str, int, int, int, tuple[str, ...]]]:
    """The stretches of play, without sentences."""
    path = root / RUNS
    check_regular(path)
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is not as it should be ({error}); {MEND}.") from error
    ends = check_value(table.tolist(), list[tuple[Number, Number]], where=str(path), mend=MEND)
    return [("play", number, first, last, ()) for number, (first, last) in enumerate(ends)]


def _read(
    root: Path, task: str, number: int, first: int, last: int, sentences: tuple[str, ...], camera: str | None
) -> Episode:
    if last < first:
        raise UserError(f"{task}/{number} of {root} ends at frame {last}, before it begins at {first}; {MEND}.")
    for end in (first, last):
        check_regular(frame_path(root, end))
    length, chosen = last - first + 1, choose_camera(camera, CAMERAS, root)
    return Episode(
        task=task,
        number=number,
        length=length,
        source=root,
        read_frame=CalvinFrames(root, first, chosen),
        instructions=sentences,
        read_joints=CalvinJoints(root, first, length),
        cameras=CAMERAS,
        camera=chosen,
        rate=RATE,
        notes={"first_frame": first},
    )
