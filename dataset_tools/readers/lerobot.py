"""LeRobot data sets on disk, versions 2.0, 2.1 and 3.0 => episodes, without the lerobot package. Pyarrow.

|                | 2.x                                        | 3.0                                              |
|----------------|--------------------------------------------|--------------------------------------------------|
| episodes       | meta/episodes.jsonl, with their sentences  | meta/episodes/chunk-*/file-*.parquet, the same   |
| rows, pictures | a parquet, and an mp4 a camera, an episode | many episodes a file; from_timestamp says where  |

Source: lerobot 0.4.4, lerobot/datasets. A LeRobot "task" is a sentence; the episode's task is named by its words,
unless meta/episode_sources.jsonl (written by export_lerobot) says which task and number it was.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from dataset_tools.pictures import decode_picture, read_picture
from dataset_tools.video import VideoFrames, open_video

INFO = Path("meta") / "info.json"
SOURCES = Path("meta") / "episode_sources.jsonl"  # ours: task, number, save_freq of each episode
VERSIONS = ("v2.0", "v2.1", "v3.0")
STATE, ACTION = "observation.state", "action"
CAMERA_PREFIX = "observation.images."


@dataclass(frozen=True)
class LeRobotSet:
    """What meta/ says about a data set."""

    root: Path
    info: dict
    episodes: tuple[dict, ...]  # episode_index, length, tasks, and where 3.0 keeps it
    sources: dict[int, dict]  # episode_index => our own record; empty for others' data

    @property
    def cameras(self) -> dict[str, str]:
        """Camera name => feature, without the prefix observation.images."""
        features = self.info["features"]
        kept = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image")]
        return {name.removeprefix(CAMERA_PREFIX): name for name in kept}

    def data_file(self, episode: dict) -> Path:
        """Parquet file with the episode's rows."""
        return self.root / self._fill("data_path", episode, "data", None)

    def video_file(self, episode: dict, feature: str) -> Path:
        """Video with the episode's frames."""
        return self.root / self._fill("video_path", episode, f"videos/{feature}", feature)

    def _fill(self, template: str, episode: dict, prefix: str, feature: str | None) -> str:
        index = episode["episode_index"]
        try:
            return self.info[template].format(
                episode_index=index,
                episode_chunk=index // self.info.get("chunks_size", 1000),
                chunk_index=episode.get(f"{prefix}/chunk_index"),
                file_index=episode.get(f"{prefix}/file_index"),
                video_key=feature,
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"{self.root / INFO} does not say where episode {index} is ({template}: {error}); download it again."
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
            return decode_picture(cell["bytes"], where=where)
        if isinstance(cell, dict) and cell.get("path"):
            return read_picture(self.root / cell["path"])
        raise UserError(f"{where} is empty; download the data set again.")


@dataclass(frozen=True)
class LeRobotJoints:
    """States and actions of an episode."""

    path: Path
    episode_index: int
    length: int

    def __call__(self) -> Joints:
        """Float64 (length, D) each, None for a feature that the data set lacks."""
        columns = [name for name in (STATE, ACTION) if name in _schema(self.path).names]
        table = read_rows(self.path, columns, self.episode_index)
        return Joints(*(self._table(table, name) if name in columns else None for name in (STATE, ACTION)))

    def _table(self, table: pa.Table, name: str) -> np.ndarray:
        rows = np.array(table[name].to_pylist(), dtype=np.float64).reshape(table.num_rows, -1)
        if len(rows) != self.length or not np.isfinite(rows).all():
            raise UserError(
                f"{name} of episode {self.episode_index} in {self.path} is broken: wanted {self.length} rows of finite "
                f"numbers, got {rows.shape}; download the data set again or leave the episode out."
            )
        return rows


def dataset_roots(folder: Path) -> list[Path]:
    """Folders with meta/info.json: the folder itself, or those below it."""
    folder = Path(folder)
    if (folder / INFO).is_file():
        return [folder]
    return sorted(path.parent.parent for path in folder.rglob("meta/info.json"))


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
    """What meta/ says.

    Raises:
        UserError: if meta/ is damaged or of another version.
    """
    info = _read_json(root / INFO)
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version not in VERSIONS:
        raise UserError(
            f"{root} is a LeRobot data set of version {version}, we read {', '.join(VERSIONS)}; convert it by lerobot."
        )
    if not isinstance(info.get("features"), dict):
        raise UserError(f"{root / INFO} lists no features; download the data set again.")
    episodes = _episodes_v3(root) if version == "v3.0" else _read_lines(root / "meta" / "episodes.jsonl")
    for entry in episodes:
        if not {"episode_index", "length"} <= set(entry):
            raise UserError(f"meta/episodes of {root} lack episode_index or length; download the data set again.")
    sources = _read_lines(root / SOURCES) if (root / SOURCES).is_file() else []
    return LeRobotSet(root, info, tuple(episodes), {entry["episode_index"]: entry for entry in sources})


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


def _read(dataset: LeRobotSet, entry: dict, camera: str | None, save_freq: int | None) -> Episode:
    index, length = entry["episode_index"], int(entry["length"])
    features = dataset.cameras
    camera = choose_camera(camera and camera.removeprefix(CAMERA_PREFIX), tuple(features), dataset.root)
    feature, data_file = features[camera], dataset.data_file(entry)
    if not data_file.is_file():
        raise UserError(f"{data_file} is missing though episode {index} is in it; download the data set again.")
    if length < 1:
        raise UserError(f"episode {index} of {dataset.root} has no frames; remove it.")
    source = dataset.sources.get(index, {})
    sentences = tuple(str(task) for task in entry.get("tasks", ()))
    save_freq = source.get("save_freq", save_freq)
    is_video = dataset.info["features"][feature]["dtype"] == "video"
    return Episode(
        task=source.get("task") or slug(sentences[0] if sentences else dataset.root.name),
        number=source.get("number", index),
        length=length,
        source=dataset.root,
        read_frame=_video_frames(dataset, entry, feature, length)
        if is_video
        else EmbeddedFrames(data_file, dataset.root, feature, index),
        instructions=sentences,
        read_joints=LeRobotJoints(data_file, index, length),
        cameras=tuple(features),
        camera=camera,
        save_freq=save_freq,
        rate=None if save_freq else dataset.info.get("fps"),
        notes={"episode_index": index, "robot_type": dataset.info.get("robot_type")},
    )


def _video_frames(dataset: LeRobotSet, entry: dict, feature: str, length: int) -> VideoFrames:
    path = dataset.video_file(entry, feature)
    video = open_video(path)
    start = video.frame_at(entry.get(f"videos/{feature}/from_timestamp") or 0.0)
    if start + length > video.length:
        raise UserError(
            f"{path} has {video.length} frames, but episode {entry['episode_index']} needs those up to "
            f"{start + length - 1}; download the data set again."
        )
    return VideoFrames(path, start)


def slug(sentence: str) -> str:
    """'Put the cheese onto the cloth.' => 'put_the_cheese_onto_the_cloth', fit for a file name."""
    letters = "".join(letter if letter.isalnum() else " " for letter in sentence.lower())
    return "_".join(letters.split())[:80] or "task"


def _episodes_v3(root: Path) -> list[dict]:
    rows = []
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{root / 'meta' / 'episodes'} holds no parquet files; download the data set again.")
    for path in paths:
        columns = [name for name in _schema(path).names if not name.startswith("stats/")]
        try:
            rows += pq.read_table(path, columns=columns).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
    return rows


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no JSON in UTF-8 ({error}); download the data set again.") from error


def _read_lines(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no JSON lines in UTF-8 ({error}); download the data set again.") from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a whole parquet file ({str(error).splitlines()[0]}); download it again.")


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


@lru_cache(maxsize=2)
def _embedded_pictures(path: Path, feature: str, episode_index: int) -> list[dict]:
    return read_rows(path, [feature], episode_index)[feature].to_pylist()
