"""Episodes => picture files, <task>/episode<i>_frame<j>.jpg, which readers.extracted_frames reads back."""

from collections.abc import Iterable
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode
from formats.atomic import draft_folder
from formats.pictures import encode_picture


def write_frames(episodes: Iterable[Episode], root: Path, picture_format: str = "jpg") -> int:
    """Write every frame of every episode, all or none; returns their number.

    Raises:
        UserError: if the folder is not empty, or two episodes have one task and number.
    """
    count, seen = 0, set()
    with draft_folder(root) as draft:
        for episode in episodes:
            if (episode.task, episode.number) in seen:
                raise UserError(
                    f"{episode.source} is {episode.task}/{episode.number} again; export its camera or folder apart."
                )
            seen.add((episode.task, episode.number))
            folder = draft / episode.task
            folder.mkdir(parents=True, exist_ok=True)
            for index, frame in enumerate(episode.frames()):
                path = folder / f"episode{episode.number}_frame{index}.{picture_format}"
                path.write_bytes(encode_picture(frame, picture_format))
            count += episode.length
    return count
