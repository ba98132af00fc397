"""Episodes that somebody extracted to picture files.

    <task>/episode12_frame36.jpg                   light_future, acp
    <task>/episode12/36.jpg                        also common
    <task>/episode12/camera/color/head/36.png      RoboTwin 1.0 with save_type raw_data

Frames are numbered from 0 without a gap; a gap would shift every later pair.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode, choose_camera
from dataset_tools.readers.naming import episode_number, task_of_folder
from formats.pictures import read_picture

HOLDS = "frames (episode<i>_frame<k>.jpg, episode<i>/<k>.jpg)"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
FRAME_NAME = re.compile(r"^episode_?(\d+)_frame_?(\d+)$")
RAW_CAMERAS = Path("camera") / "color"


@dataclass(frozen=True)
class PictureFrames:
    """Frame number => picture file of a folder."""

    folder: Path
    names: tuple[str, ...]

    def __call__(self, index: int) -> np.ndarray:
        """Frame `index` as uint8 (H, W, 3) RGB."""
        return read_picture(self.folder / self.names[index]).pixels


def holds_episodes(folder: Path) -> bool:
    """Whether there are extracted frames under the folder."""
    return next(episode_places(folder), None) is not None


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Episodes of extracted frames under a folder, by task, then number.

    Raises:
        UserError: if there are none or a frame number is missing.
    """
    episodes = [_read(place, number, views, camera, save_freq) for place, number, views in episode_places(Path(folder))]
    if not episodes:
        raise UserError(
            f"no extracted frames under {folder}: wanted episode<i>_frame<k>.jpg or episode<i>/<k>.jpg; check the path."
        )
    return sorted(episodes, key=lambda episode: (episode.task, episode.number))


def episode_places(folder: Path) -> Iterator[tuple[Path, int, dict[str, dict[int, str]]]]:
    """For each episode: its folder, its number, and camera => frame number => file name under that folder."""
    for place in (folder, *sorted(child for child in folder.rglob("*") if child.is_dir())):
        flat: dict[int, dict[int, str]] = defaultdict(dict)
        for path in _pictures(place):
            if match := FRAME_NAME.match(path.stem):
                flat[int(match.group(1))][int(match.group(2))] = path.name
        for number, names in flat.items():
            yield place, number, {"": names}
        number = episode_number(place.name)
        if number is not None and not flat:
            views = _views(place)
            if views:
                yield place, number, views


def _views(place: Path) -> dict[str, dict[int, str]]:
    if (place / RAW_CAMERAS).is_dir():
        return {
            view.name: {frame: str(RAW_CAMERAS / view.name / name) for frame, name in _numbered(view).items()}
            for view in sorted((place / RAW_CAMERAS).iterdir())
            if view.is_dir()
        }
    names = _numbered(place)
    return {"": names} if names else {}


def _read(
    place: Path, number: int, views: dict[str, dict[int, str]], camera: str | None, save_freq: int | None
) -> Episode:
    cameras = tuple(view or "head_camera" for view in views)
    chosen = choose_camera(camera, cameras, place)
    names = views[chosen] if chosen in views else views[""]
    for expected, found in enumerate(sorted(names)):
        if expected != found:
            raise UserError(
                f"episode {number} in {place} lacks frame {expected} (it goes on to {max(names)}); "
                f"extract it again or remove the episode."
            )
    holder = place.parent if episode_number(place.name) is not None else place
    task, named_save_freq = task_of_folder(holder.absolute().name)
    return Episode(
        task=task,
        number=number,
        length=len(names),
        source=place.absolute(),
        read_frame=PictureFrames(place.absolute(), tuple(names[index] for index in range(len(names)))),
        cameras=cameras,
        camera=chosen,
        save_freq=save_freq or named_save_freq,
    )


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]


def _numbered(folder: Path) -> dict[int, str]:
    return {int(path.stem): path.name for path in _pictures(folder) if path.stem.isdecimal()}
