"""Any folder of episodes => episodes: detects the layout, or reports why it cannot.

A reader is a module with HOLDS (what such a folder holds, in words), `holds_episodes(folder)` and
`find_episodes(folder, camera=, save_freq=)`; a new one is a file here and a line in READERS, and a line in
LAYOUT_OF_FILE where one file is an episode.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.readers import calvin, clips, extracted_frames, lerobot, pairs, prepared, robotwin


class Reader(Protocol):
    """Interface of a reader's module."""

    HOLDS: str

    def holds_episodes(self, folder: Path) -> bool:
        """Whether the folder holds episodes of this layout; reads as little as it can."""

    def find_episodes(self, folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
        """The episodes, by task, then number."""


READERS: dict[str, Reader] = {
    "robotwin": robotwin,
    "lerobot": lerobot,
    "clips": clips,
    "calvin": calvin,
    "pairs": pairs,
    "prepared": prepared,
    "frames": extracted_frames,
}
LAYOUTS = tuple(READERS)
LAYOUT_OF_FILE = {".hdf5": "robotwin", ".h5": "robotwin"}  # layouts with an episode in one file, by its suffix


@dataclass(frozen=True)
class ReadingRequest:
    """Which episodes a command reads."""

    folders: tuple[Path, ...]
    layout: str = "auto"
    cameras: tuple[str | None, ...] = (None,)
    save_freq: int | None = None

    def __post_init__(self) -> None:
        if self.save_freq is not None and not 0 < self.save_freq <= 1_000_000:
            raise UserError(f"--save-freq {self.save_freq} is no number of physics steps; give RoboTwin's, often 15.")


def read_episodes(request: ReadingRequest) -> list[Episode]:
    """Episodes of all folders and cameras asked for, by task, then number."""
    episodes = [
        episode
        for folder in request.folders
        for camera in request.cameras
        for episode in find_episodes(folder, layout=request.layout, camera=camera, save_freq=request.save_freq)
    ]
    return sorted(episodes, key=lambda episode: (episode.task, episode.number))


def find_episodes(
    folder: Path, *, layout: str = "auto", camera: str | None = None, save_freq: int | None = None
) -> list[Episode]:
    """Episodes under a folder, whatever wrote them, by task, then number.

    Args:
        folder: folder of episodes, or one hdf5 file.
        layout: one of LAYOUTS (robotwin: 1.0 pkl, 2.0 hdf5 and their relatives), or auto.
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
    if layout not in READERS:
        raise UserError(f"layout '{layout}' is not one of {', '.join(LAYOUTS)}.")
    return READERS[layout].find_episodes(folder, camera=camera, save_freq=save_freq)


def detect_layout(folder: Path) -> str:
    """The one layout that the folder holds.

    Raises:
        UserError: if it holds none or several.
    """
    if folder.is_file():
        if folder.suffix not in LAYOUT_OF_FILE:
            wanted = " or ".join(LAYOUT_OF_FILE)
            raise UserError(f"{folder} is no folder, and no file of one episode ({wanted}); check the path.")
        return LAYOUT_OF_FILE[folder.suffix]
    found = [layout for layout, reader in READERS.items() if reader.holds_episodes(folder)]
    if not found:
        raise UserError(f"no episodes under {folder}: looked for " + ", ".join(r.HOLDS for r in READERS.values()) + ".")
    if len(found) > 1:
        raise UserError(
            f"{folder} holds episodes of several layouts ({', '.join(found)}); choose one by --format, or a subfolder."
        )
    return found[0]
