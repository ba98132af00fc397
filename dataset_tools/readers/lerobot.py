"""LeRobot data sets on disk, versions 2.0, 2.1 and 3.0 => episodes, without the lerobot package.

|                | 2.x                                        | 3.0                                              |
|----------------|--------------------------------------------|--------------------------------------------------|
| episodes       | meta/episodes.jsonl, with their sentences  | meta/episodes/chunk-*/file-*.parquet, the same   |
| rows, pictures | a parquet, and an mp4 a camera, an episode | many episodes a file; from_timestamp says where  |

Source: lerobot 0.4.4, lerobot/datasets. A LeRobot "task" is a sentence; the episode's task is named by its words,
unless meta/episode_sources.jsonl (written by export_lerobot) says which task and number it was. Exports of AgiBot World
(any4lerobot) have no observation.state and action: their joints and effectors are put side by side instead.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from commands.errors import UserError
from dataset_tools.episode import LONGEST_EPISODE, Episode, Joints, choose_camera
from formats.atomic import check_regular, check_value, inside, read_json, read_jsonl
from formats.pictures import read_picture
from formats.prepared_folder import Rate, Sentence
from formats.templates import fill_fields
from formats.video import VideoFrames, open_video

HOLDS = "LeRobot (meta/info.json)"
INFO = Path("meta") / "info.json"
SOURCES = Path("meta") / "episode_sources.jsonl"  # ours: task, number, save_freq of each episode
VERSIONS = ("v2.0", "v2.1", "v3.0")
STATE, ACTION, ANGLES = "observation.state", "action", "observation.joints"
STATE_PARTS = ("observation.states.joint.position", "observation.states.effector.position")  # of AgiBot World
ACTION_PARTS = ("actions.joint.position", "actions.effector.position")
CAMERA_PREFIX = "observation.images."
MEND = "download the data set again"
Index = Annotated[int, Meta(ge=0, le=10**12)]
Template = Annotated[str, Meta(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Feature:
    """One column or camera of info.json."""

    dtype: str
    names: Any = None
    shape: Any = None

    @property
    def is_picture(self) -> bool:
        """Whether it is a camera of colours: depth has one channel."""
        sides = self.shape if isinstance(self.shape, list) and len(self.shape) == 3 else (3,)
        return self.dtype in ("video", "image") and 1 not in (sides[0], sides[-1])


@dataclass(frozen=True)
class Info:
    """The entries of meta/info.json that are used here."""

    codebase_version: str
    features: dict[str, Feature]
    data_path: Template
    video_path: Template | None = None
    chunks_size: Annotated[int, Meta(ge=1, le=10**9)] = 1000
    fps: Rate | None = None
    robot_type: Annotated[str, Meta(max_length=1000)] | None = None

    def columns(self, whole: str, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Features that make a table: `whole`, or those of `parts` that there are."""
        there = tuple(part for part in parts if part in self.features)
        return there if there and whole not in self.features else (whole,)

    def names(self, features: tuple[str, ...]) -> tuple[str, ...] | None:
        """Names of the columns of features side by side; None unless all have names."""
        named = [self._names_of(feature) for feature in features]
        return None if None in named else tuple(name for names in named for name in names)

    def _names_of(self, feature: str) -> tuple[str, ...] | None:
        """A list, or a list in a dictionary, as some data sets do."""
        names = self.features[feature].names if feature in self.features else None
        if isinstance(names, dict) and len(names) == 1:
            (names,) = names.values()
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return tuple(names) if is_list else None


@dataclass(frozen=True)
class Entry:
    """One episode of meta/episodes; 3.0 also says in which file it is, and from which second of a video."""

    episode_index: Index
    length: Annotated[int, Meta(ge=0, le=LONGEST_EPISODE)]
    tasks: tuple[Sentence, ...] = ()
    places: dict[str, Annotated[float, Meta(ge=0, le=1e12)]] = field(default_factory=dict)

    def file(self, prefix: str, name: str) -> int | None:
        """Chunk or file number, None before 3.0."""
        place = self.places.get(f"{prefix}/{name}")
        return None if place is None else int(place)


@dataclass(frozen=True)
class Source:
    """A line of our own episode_sources.jsonl."""

    episode_index: Index
    task: Annotated[str, Meta(max_length=255)] | None = None
    number: Index | None = None
    save_freq: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True)
class LeRobotSet:
    """Content of a data set's meta/."""

    root: Path
    info: Info
    episodes: tuple[Entry, ...]
    sources: dict[int, Source]  # episode_index => our own record; empty for others' data

    @property
    def cameras(self) -> dict[str, str]:
        """Camera name => feature, without the prefix observation.images."""
        kept = [name for name, feature in self.info.features.items() if feature.is_picture]
        return {name.removeprefix(CAMERA_PREFIX): name for name in kept}

    def data_file(self, episode: Entry) -> Path:
        """Parquet file with the episode's rows."""
        return self._file(self.info.data_path, episode, "data", None)

    def video_file(self, episode: Entry, feature: str) -> Path:
        """Video with the episode's frames."""
        return self._file(self.info.video_path or "", episode, f"videos/{feature}", feature)

    def _file(self, template: str, episode: Entry, prefix: str, feature: str | None) -> Path:
        fields = {
            "episode_index": episode.episode_index,
            "episode_chunk": episode.episode_index // self.info.chunks_size,
            "chunk_index": episode.file(prefix, "chunk_index"),
            "file_index": episode.file(prefix, "file_index"),
            "video_key": feature,
        }
        try:
            return inside(self.root, fill_fields(template, fields), "the file")
        except UserError as error:
            raise UserError(
                f"{self.root / INFO} does not say where episode {episode.episode_index} is ({error}) {MEND}."
            ) from error


@dataclass(frozen=True)
class EmbeddedFrames:
    """Frame number => picture kept inside the parquet rows (features of dtype image)."""

    path: Path
    root: Path
    feature: str
    episode_index: int

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` of the episode as uint8 (H, W, 3) RGB."""
        cell = _embedded_pictures(self.path, self.feature, self.episode_index)[index]
        where = f"frame {index} of episode {self.episode_index} in {self.path}"
        if isinstance(cell, dict) and cell.get("bytes"):
            return read_picture(cell["bytes"], where).pixels
        if isinstance(cell, dict) and cell.get("path"):
            return read_picture(inside(self.root, cell["path"], f"the picture of {where}")).pixels
        raise UserError(f"{where} is empty; download the data set again.")


@dataclass(frozen=True)
class LeRobotJoints:
    """States and actions of an episode."""

    path: Path
    episode_index: int
    length: int
    info: Info

    def __call__(self) -> Joints:
        """Float64 (length, D) each, None for what the data set lacks."""
        states, actions = self.info.columns(STATE, STATE_PARTS), self.info.columns(ACTION, ACTION_PARTS)
        groups, there = (states, actions, (ANGLES,)), _schema(self.path).names
        columns = [name for group in groups for name in group if name in there]
        table = read_rows(self.path, columns, self.episode_index)
        tables = ([self._table(table, name) for name in group if name in columns] for group in groups)
        read = [np.concatenate(parts, axis=1) if parts else None for parts in tables]
        return Joints(*read, self.info.names(states), self.info.names(actions))

    def _table(self, table: pa.Table, name: str) -> np.ndarray:
        try:
            rows = np.array(table[name].to_pylist(), dtype=np.float64)
            rows = rows.reshape(len(rows), -1) if rows.size else rows
        except (TypeError, ValueError) as error:
            raise UserError(f"{name} of {self.path} is no table of numbers; {MEND}.") from error
        if len(rows) != self.length or not np.isfinite(rows).all():
            raise UserError(
                f"{name} of episode {self.episode_index} in {self.path} is broken: wanted {self.length} rows of finite "
                f"numbers, got {rows.shape}; download the data set again or leave the episode out."
            )
        return rows


def dataset_roots(folder: Path) -> list[Path]:
    """Folders with meta/info.json: the folder itself, or those below it."""
    folder = Path(folder)
    if (folder / INFO).exists():
        return [folder]
    return sorted(path.parent.parent for path in folder.rglob("meta/info.json"))


def holds_episodes(folder: Path) -> bool:
    """Whether there is a LeRobot data set in the folder or below it."""
    return bool(dataset_roots(folder))


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Episodes of the LeRobot data sets under a folder, by task, then number.

    Raises:
        UserError: if there are none, the version is another, or a file is missing.
    """
    roots = dataset_roots(folder)
    if not roots:
        raise UserError(f"no LeRobot data set under {folder}: meta/info.json is missing; check the path.")
    episodes = []
    for root in roots:
        dataset = read_dataset(root.absolute())
        episodes += [_read(dataset, entry, camera, save_freq) for entry in dataset.episodes]
    if not episodes:
        raise UserError(f"{folder} is a LeRobot data set of no episodes; record some first.")
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def read_dataset(root: Path) -> LeRobotSet:
    """Read meta/ of a data set.

    Raises:
        UserError: if meta/ is damaged or of another version.
    """
    version = read_json(root / INFO, mend=MEND).get("codebase_version")
    if version not in VERSIONS:
        raise UserError(
            f"{root} is a LeRobot data set of version {version}, we read {', '.join(VERSIONS)}; convert it by lerobot."
        )
    info = read_json(root / INFO, Info, mend=MEND)
    if version == "v3.0":
        episodes = _episodes_v3(root)
    else:
        episodes = read_jsonl(root / "meta" / "episodes.jsonl", Entry, mend=MEND)
    sources = read_jsonl(root / SOURCES, Source, mend=MEND) if (root / SOURCES).exists() else []
    return LeRobotSet(root, info, tuple(episodes), {source.episode_index: source for source in sources})


def read_rows(path: Path, columns: list[str], episode_index: int) -> pa.Table:
    """Rows of one episode, in frame order.

    Raises:
        UserError: if the file is absent or damaged.
    """
    try:
        table = pq.read_table(path, columns=[*columns, "frame_index"], filters=[("episode_index", "==", episode_index)])
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    return table.sort_by("frame_index")


def _read(dataset: LeRobotSet, entry: Entry, camera: str | None, save_freq: int | None) -> Episode:
    index, info = entry.episode_index, dataset.info
    features = dataset.cameras
    camera = choose_camera(camera and camera.removeprefix(CAMERA_PREFIX), tuple(features), dataset.root)
    feature, data_file = features[camera], dataset.data_file(entry)
    if not data_file.is_file():
        raise UserError(f"{data_file} is missing though episode {index} is in it; {MEND}.")
    if entry.length < 1:
        raise UserError(f"episode {index} of {dataset.root} has no frames; remove it.")
    source = dataset.sources.get(index, Source(index))
    save_freq = source.save_freq or save_freq
    sentences = tuple(sentence for sentence in entry.tasks if sentence.strip())  # Bridge has empty ones
    is_video = info.features[feature].dtype == "video"
    return Episode(
        task=source.task or slug(sentences[0] if sentences else dataset.root.name),
        number=index if source.number is None else source.number,
        length=entry.length,
        source=dataset.root,
        read_frame=_video_frames(dataset, entry, feature)
        if is_video
        else EmbeddedFrames(data_file, dataset.root, feature, index),
        instructions=sentences,
        read_joints=LeRobotJoints(data_file, index, entry.length, info),
        cameras=tuple(features),
        camera=camera,
        save_freq=save_freq,
        rate=None if save_freq else info.fps,
        notes={"episode_index": index, "robot_type": info.robot_type},
    )


def _video_frames(dataset: LeRobotSet, entry: Entry, feature: str) -> VideoFrames:
    path = dataset.video_file(entry, feature)
    video = open_video(path)
    start = video.frame_at(entry.places.get(f"videos/{feature}/from_timestamp", 0.0))
    if start + entry.length > video.length:
        raise UserError(
            f"{path} has {video.length} frames, but episode {entry.episode_index} needs those up to "
            f"{start + entry.length - 1}; {MEND}."
        )
    return VideoFrames(path, start)


def slug(sentence: str) -> str:
    """'Put the cheese onto the cloth.' => 'put_the_cheese_onto_the_cloth', fit for a file name."""
    letters = "".join(letter if letter.isalnum() else " " for letter in sentence.lower())
    return "_".join(letters.split())[:80] or "task"


def _episodes_v3(root: Path) -> list[Entry]:
    entries = []
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{root / 'meta' / 'episodes'} holds no parquet files; {MEND}.")
    for path in paths:
        columns = [name for name in _schema(path).names if not name.startswith("stats/")]
        try:
            rows = pq.read_table(path, columns=columns).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
        for number, row in enumerate(rows):
            places = {name: value for name, value in row.items() if "/" in name and value is not None}
            where = f"{path}, row {number},"
            entries.append(check_value({**row, "places": places}, Entry, where=where, mend=MEND))
    return entries


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path} is not a whole parquet file ({reason}); download it again.")


def _schema(path: Path) -> pa.Schema:
    check_regular(path)
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


@lru_cache(maxsize=2)
def _embedded_pictures(path: Path, feature: str, episode_index: int) -> list[dict]:
    return read_rows(path, [feature], episode_index)[feature].to_pylist()
