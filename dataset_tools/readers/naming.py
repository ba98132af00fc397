"""Task names and episode numbers from the names of folders and files.

Names are compared as numbers, never as text: sorted as text, episode10 comes before episode2 and frame 100
before frame 11, which silently pairs the wrong frames.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode

EPISODE_NAME = re.compile(r"^episode_?(\d+)$")  # episode0, episode_12, episode_0000003
PKL_FOLDER_TAIL = re.compile(r"(_pkl(_\d+)?)?$")  # <task>_D435_pkl, <task>_D435_pkl_100
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
        UserError: if there are none or one is missing.
    """
    numbers = sorted(int(path.stem) for path in folder.iterdir() if path.suffix == suffix and path.stem.isdecimal())
    if not numbers:
        raise UserError(f"{folder} is empty: wanted 0{suffix}, 1{suffix}, ...; remove it or record it again.")
    for expected, found in enumerate(numbers):
        if expected != found:
            raise UserError(
                f"{folder} lacks frame {expected}{suffix} (it goes on to {numbers[-1]}{suffix}); copy the frame again "
                f"or remove the episode."
            )
    return len(numbers)


def name_episodes(episodes: Sequence[Episode]) -> list[str]:
    """'<task>/<number>' for each episode, with what tells them apart added where several share that.

    The same scene from two cameras, or recorded clean and randomised, has one task and number (and so one split), but
    needs two names: 'stack_blocks_two/3-demo_clean' and 'stack_blocks_two/3-demo_randomized'.

    Raises:
        UserError: if an episode is there twice.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for position, episode in enumerate(episodes):
        groups[episode.task, episode.number].append(position)
    names = [f"{episode.task}/{episode.number}" for episode in episodes]
    for positions in groups.values():
        if len(positions) > 1:
            for position, variant in zip(positions, _variants([episodes[p] for p in positions]), strict=True):
                names[position] += f"-{variant}"
    return names


def _variants(episodes: Sequence[Episode]) -> list[str]:
    """The first part of camera or source path that tells all the episodes apart; all such parts where none does."""
    paths = [(episode.camera, *episode.source.parts) for episode in episodes]
    longest = max(len(path) for path in paths)
    columns = list(zip(*((*path, *[""] * (longest - len(path))) for path in paths), strict=True))
    differing = [column for column in columns if len(set(column)) > 1]
    telling = next(([column] for column in differing if len(set(column)) == len(episodes)), differing)
    variants = ["-".join(part for part in parts if part).replace(" ", "_") for parts in zip(*telling, strict=True)]
    if len(set(variants)) < len(episodes):
        twice = episodes[0]
        raise UserError(
            f"{twice.source} is there twice as {twice.task}/{twice.number}; name each folder in --episodes once, "
            f"or prepare them into folders of their own."
        )
    return variants
