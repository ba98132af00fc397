"""Any folder of episodes => episodes: finds out the layout, or says why it cannot."""

from collections.abc import Callable
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.readers import clips, extracted_frames, lerobot, robotwin

FINDERS: dict[str, Callable[..., list[Episode]]] = {
    "robotwin": robotwin.find_episodes,
    "lerobot": lerobot.find_episodes,
    "clips": clips.find_episodes,
    "frames": extracted_frames.find_episodes,
}
LAYOUTS = tuple(FINDERS)


def find_episodes(
    folder: Path, *, layout: str = "auto", camera: str | None = None, save_freq: int | None = None
) -> list[Episode]:
    """Episodes under a folder, whatever wrote them, by task, then number.

    Args:
        folder: folder of episodes, or one hdf5 file.
        layout: robotwin (1.0 pkl, 2.0 hdf5 and their relatives), lerobot, clips, frames, or auto.
        camera: which camera; None takes the head camera, or the first.
        save_freq: RoboTwin's physics steps per saved frame, where the episodes do not say.

    Raises:
        UserError: if the folder holds no episodes, those of two layouts, or a damaged one.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"no folder {folder}; check the path given to --episodes.")
    if layout == "auto":
        layout = detect_layout(folder)
    if layout not in FINDERS:
        raise UserError(f"layout '{layout}' is not one of {', '.join(LAYOUTS)}.")
    return FINDERS[layout](folder, camera=camera, save_freq=save_freq)


def detect_layout(folder: Path) -> str:
    """The one layout that the folder holds.

    Raises:
        UserError: if it holds none or several.
    """
    if folder.is_file():
        return "robotwin"  # the one layout with an episode in a file
    found = [layout for layout, holds in _CHECKS.items() if holds(folder)]
    if not found:
        raise UserError(
            f"no episodes under {folder}: looked for RoboTwin (episode<i>/<k>.pkl, episode<i>.hdf5), LeRobot "
            f"(meta/info.json), clips (annotation/<n>.json) and frames (episode<i>_frame<k>.jpg, episode<i>/<k>.jpg)."
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} holds episodes of several layouts ({', '.join(found)}); choose one by --format, or a subfolder."
        )
    return found[0]


_CHECKS: dict[str, Callable[[Path], bool]] = {
    "robotwin": lambda folder: next(robotwin.episode_paths(folder), None) is not None,
    "lerobot": lambda folder: bool(lerobot.dataset_roots(folder)),
    "clips": lambda folder: bool(clips.annotation_files(folder)),
    "frames": lambda folder: next(extracted_frames.episode_places(folder), None) is not None,
}
