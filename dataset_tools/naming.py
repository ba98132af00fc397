"""Task names and episode numbers from the names of folders and files. Layer 1: standard library only.

Names are compared as numbers, never as text: sorted as text, episode10 comes before episode2 and frame 100
before frame 11, which silently pairs the wrong frames.
"""

import re
from pathlib import Path

from dataset_tools.episode import EpisodeError

EPISODE_NAME = re.compile(r"^episode_?(\d+)$")  # episode0, episode_12, episode_0000003
PKL_FOLDER_TAIL = re.compile(r"(_pkl)?(_\d+)?$")  # <task>_D435_pkl, <task>_D435_pkl_100
CAMERA_TAIL = re.compile(r"_(Large_)?(D435|L515)$", re.IGNORECASE)  # RoboTwin's _camera_config.yml
SAVE_FREQ_TAIL = re.compile(r"_sf(\d+)$")  # a habit seen in the wild: block_hammer_beat_sf50_D435_pkl


def episode_number(name: str) -> int | None:
    """Number in 'episode12' or 'episode_0000012'; None for any other name (scene_info, _traj_data, ...)."""
    match = EPISODE_NAME.match(name)
    return int(match.group(1)) if match else None


def task_of_folder(name: str) -> tuple[str, int | None]:
    """Task and, where the name says it, save_freq of a folder of episodes.

    'block_hammer_beat_sf50_D435_pkl' => ('block_hammer_beat', 50); 'block-hammer-beat' => ('block_hammer_beat', None)
    """
    stem = PKL_FOLDER_TAIL.sub("", name.replace("-", "_"))
    stem = CAMERA_TAIL.sub("", stem)
    match = SAVE_FREQ_TAIL.search(stem)
    return (stem[: match.start()], int(match.group(1))) if match else (stem, None)


def count_numbered(folder: Path, suffix: str) -> int:
    """Number of files <k><suffix> in a folder, which must be 0, 1, ... without a gap.

    Raises:
        EpisodeError: if there are none or one is missing.
    """
    numbers = sorted(int(path.stem) for path in folder.iterdir() if path.suffix == suffix and path.stem.isdigit())
    if not numbers:
        raise EpisodeError(f"{folder} is empty: wanted 0{suffix}, 1{suffix}, ...; remove it or record it again.")
    for expected, found in enumerate(numbers):
        if expected != found:
            raise EpisodeError(
                f"{folder} lacks frame {expected}{suffix} (it goes on to {numbers[-1]}{suffix}); copy the frame again "
                f"or remove the episode."
            )
    return len(numbers)
