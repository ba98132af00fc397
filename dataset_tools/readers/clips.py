"""Clips with annotation: <set>/annotation/**/<n>.json beside <set>/videos/**.mp4.

The layout in which video-prediction-policy and Ctrl-World publish DROID, Bridge, RT-1 and xhand: a JSON file an
episode with "texts", "videos" (one a camera), states and actions. The set's folder name is the task, since nearly
every clip has a sentence of its own. The rate is the video's, which is that of its play-back.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, choose_camera
from dataset_tools.video import VideoFrames, open_video

STATE_KEYS = ("states", "state")
ACTION_KEYS = ("actions", "action")


@dataclass(frozen=True)
class ClipJoints:
    """States and actions of an annotation file."""

    path: Path
    length: int

    def __call__(self) -> Joints:
        """Float64 (length, D) each.

        Where T frames have T - 1 actions (Bridge, RT-1: the last frame has none), the last action is said twice.
        """
        content = read_annotation(self.path)
        states, actions = (self._table(content, keys) for keys in (STATE_KEYS, ACTION_KEYS))
        return Joints(states, actions)

    def _table(self, content: dict, keys: tuple[str, ...]) -> np.ndarray | None:
        name = next((key for key in keys if content.get(key)), None)
        if name is None:
            return None
        try:
            table = np.array(content[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(f"'{name}' of {self.path} is no table of numbers; mend or remove the clip.") from error
        if keys is ACTION_KEYS and len(table) == self.length - 1:
            table = np.concatenate([table, table[-1:]])
        if table.ndim != 2 or len(table) != self.length or not np.isfinite(table).all():
            raise UserError(
                f"'{name}' of {self.path} is broken: wanted {self.length} rows of finite numbers, got {table.shape}; "
                f"mend or remove the clip."
            )
        return table


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Clips under a folder, by set, then number.

    Raises:
        UserError: if there are none or one is damaged.
    """
    episodes = [_read(path.absolute(), camera, save_freq) for path in annotation_files(Path(folder))]
    if not episodes:
        raise UserError(f"no annotation/<n>.json under {folder}; check the path.")
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def annotation_files(folder: Path) -> list[Path]:
    """JSON files under any folder named `annotation`."""
    roots = [folder / "annotation", *folder.rglob("*/annotation")]
    return [path for root in roots if root.is_dir() for path in sorted(root.rglob("*.json"))]


def read_annotation(path: Path) -> dict:
    """Content of an annotation file.

    Raises:
        UserError: if it is no JSON object in UTF-8 with a list of videos.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content["videos"]:
            raise KeyError("videos")
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no clip annotation ({type(error).__name__}: {error}); wanted JSON in UTF-8 with 'texts' and "
            f"'videos'; mend or remove it."
        ) from error


def _read(path: Path, camera: str | None, save_freq: int | None) -> Episode:
    content = read_annotation(path)
    root = next(parent.parent for parent in path.parents if parent.name == "annotation")
    named = [_find_video(root, path, entry) for entry in content["videos"]]
    videos = sorted({*named, *named[0].parent.glob("*.mp4")})  # xhand's annotations name two of three cameras
    cameras = tuple(video.stem for video in videos)
    camera = choose_camera(camera, cameras, path)
    video = videos[cameras.index(camera)]
    decoder = open_video(video)
    length = int(content.get("video_length", decoder.length))  # published DROID clips have a frame more than they say
    if not 0 < length <= decoder.length:
        raise UserError(f"{video} has {decoder.length} frames, {path} says {length}; copy or remove the clip.")
    texts = content.get("texts") or []
    return Episode(
        task=root.name,
        number=int("".join(letter for letter in path.stem if letter.isdigit()) or 0),
        length=length,
        source=path,
        read_frame=VideoFrames(video),
        instructions=tuple(str(text) for text in texts if str(text).strip()),
        read_joints=ClipJoints(path, length),
        cameras=cameras,
        camera=camera,
        save_freq=save_freq,
        rate=None if save_freq else decoder.rate,
        notes={"episode_id": content.get("episode_id")},
    )


def _find_video(root: Path, annotation: Path, entry: object) -> Path:
    """The video that an annotation names; its 'videos/val/8/rgb.mp4' may lie at 'videos/8/rgb.mp4'."""
    try:
        stated = Path(entry["video_path"])
    except (TypeError, KeyError) as error:
        raise UserError(f"'videos' of {annotation} lacks a 'video_path'; mend or remove the clip.") from error
    without_split = Path(stated.parts[0], *stated.parts[2:]) if len(stated.parts) > 2 else stated
    for candidate in (root / stated, root / without_split):
        if candidate.is_file():
            return candidate
    raise UserError(f"{root / stated}, named by {annotation}, is absent; copy it or remove the annotation.")
