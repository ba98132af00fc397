"""Clips with annotation: <set>/annotation/**/<n>.json beside <set>/videos/**.mp4.

The layout in which video-prediction-policy and Ctrl-World publish DROID, Bridge, RT-1 and xhand: a JSON file an
episode with "texts", "videos" (one a camera), states and actions. The set's folder name is the task, since nearly
every clip has a sentence of its own. The rate is the video's, which is that of its play-back.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from commands.errors import UserError
from dataset_tools.episode import LONGEST_EPISODE, Episode, Joints, choose_camera
from formats.atomic import inside, read_json
from formats.prepared_folder import Sentence
from formats.video import VideoFrames, open_video

HOLDS = "clips (annotation/<n>.json)"
Table = list[list[float]]


@dataclass(frozen=True)
class Video:
    """A camera's video, relative to the set's folder."""

    video_path: Annotated[str, Meta(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Annotation:
    """The entries of a clip's JSON file that are used here. DROID's states are Cartesian, with joints beside them."""

    videos: Annotated[list[Video], Meta(min_length=1)]
    texts: Sentence | list[Sentence] | None = None
    video_length: Annotated[int, Meta(ge=0, le=LONGEST_EPISODE)] | None = None
    episode_id: str | int | None = None
    state: Table = field(default_factory=list)
    states: Table = field(default_factory=list)
    action: Table = field(default_factory=list)
    actions: Table = field(default_factory=list)
    joints: Table = field(default_factory=list)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The instructions that are not empty."""
        texts = [self.texts] if isinstance(self.texts, str) else self.texts or []
        return tuple(text for text in texts if text.strip())


@dataclass(frozen=True)
class ClipJoints:
    """States and actions of an annotation file."""

    path: Path
    length: int

    def __call__(self) -> Joints:
        """Float64 (length, D) each; only a table called joints is one of joints.

        Where T frames have T - 1 actions (Bridge, RT-1: the last frame has none), the last action is repeated.
        """
        content = read_annotation(self.path)
        states = self._table("states", content.states or content.state)
        angles = self._table("joints", content.joints)
        actions = content.actions or content.action
        actions = self._table("actions", actions + actions[-1:] if len(actions) == self.length - 1 else actions)
        return Joints(states, actions, angles, _numbered("state", states), _numbered("action", actions))

    def _table(self, name: str, rows: Table) -> np.ndarray | None:
        if not rows:
            return None
        widths = {len(row) for row in rows}
        table = np.array(rows, dtype=np.float64) if len(widths) == 1 else np.full((len(rows), 1), np.nan)
        if len(table) != self.length or not np.isfinite(table).all() or not table.size:
            raise UserError(
                f"the {name} of {self.path} are broken: wanted {self.length} rows of as many finite numbers, got "
                f"{len(rows)} rows of {', '.join(map(str, sorted(widths)[:3]))}; mend or remove the clip."
            )
        return table


def _numbered(what: str, table: np.ndarray | None) -> tuple[str, ...] | None:
    return None if table is None else tuple(f"{what}_{column}" for column in range(table.shape[1]))


def holds_episodes(folder: Path) -> bool:
    """Whether there are annotations under the folder."""
    return bool(annotation_files(folder))


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


def read_annotation(path: Path) -> Annotation:
    """Content of an annotation file.

    Raises:
        UserError: if it is not such a JSON object in UTF-8.
    """
    return read_json(path, Annotation, mend="wanted a clip annotation with 'texts' and 'videos': mend or remove it")


def _read(path: Path, camera: str | None, save_freq: int | None) -> Episode:
    content = read_annotation(path)
    root = next(parent.parent for parent in path.parents if parent.name == "annotation")
    named = [_find_video(root, path, entry.video_path) for entry in content.videos]
    videos = sorted({*named, *named[0].parent.glob("*.mp4")})  # xhand's annotations name two of three cameras
    cameras = tuple(video.stem for video in videos)
    camera = choose_camera(camera, cameras, path)
    video = videos[cameras.index(camera)]
    decoder = open_video(video)
    length = content.video_length or decoder.length  # published DROID clips have a frame more than they say
    if not 0 < length <= decoder.length:
        raise UserError(f"{video} has {decoder.length} frames, {path} says {length}; copy or remove the clip.")
    return Episode(
        task=root.name,
        number=int("".join(letter for letter in path.stem if letter.isdecimal()) or 0),
        length=length,
        source=path,
        read_frame=VideoFrames(video),
        instructions=content.sentences,
        read_joints=ClipJoints(path, length),
        cameras=cameras,
        camera=camera,
        save_freq=save_freq,
        rate=None if save_freq else decoder.rate,
        notes={"episode_id": content.episode_id},
    )


def _find_video(root: Path, annotation: Path, stated: str) -> Path:
    """The video that an annotation names; its 'videos/val/8/rgb.mp4' may lie at 'videos/8/rgb.mp4'."""
    path = inside(root, stated, f"in {annotation}, video_path")
    parts = path.relative_to(root).parts
    without_split = root.joinpath(parts[0], *parts[2:]) if len(parts) > 2 else path
    for candidate in (path, without_split):
        if candidate.is_file():
            return candidate
    raise UserError(f"{path}, named by {annotation}, is absent; copy it or remove the annotation.")
