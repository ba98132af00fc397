"""RoboTwin folders => episodes: which files are episodes, of which task, with which number.

1.0    <task>_<camera>_pkl/episode<i>/<k>.pkl        data/<task>/<config>/data/episode<i>.hdf5        2.0
early  <task>_pkl/episode<i>/<k>.pkl                 data/<config>/<task>/<embodiment>/data/episode_0000000.hdf5
"""

from collections.abc import Iterator
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.readers.naming import episode_number, task_of_folder
from dataset_tools.readers.robotwin_hdf5 import read_hdf5_episode
from dataset_tools.readers.robotwin_pkl import read_pkl_episode

HOLDS = "RoboTwin (episode<i>/<k>.pkl, episode<i>.hdf5)"
HDF5_SUFFIXES = (".hdf5", ".h5")


def holds_episodes(folder: Path) -> bool:
    """Whether there are episodes of RoboTwin under the folder."""
    return next(episode_paths(folder), None) is not None


def find_episodes(folder: Path, *, camera: str | None = None, save_freq: int | None = None) -> list[Episode]:
    """Episodes of RoboTwin under a folder (or of one episode's own folder or file), by task, then number.

    Args:
        folder: a data folder, a task's folder, one episode's pkl folder, or one hdf5 file.
        camera: which camera; None takes the head camera.
        save_freq: physics steps per saved frame, where neither file nor folder name says it.

    Raises:
        UserError: if there are no episodes or one of them is damaged.
    """
    folder = Path(folder)
    episodes = [_read(path, camera, save_freq) for path in episode_paths(folder)]
    if not episodes:
        raise UserError(
            f"no RoboTwin episodes under {folder}: wanted episode<i>/<k>.pkl or episode<i>.hdf5; check the path."
        )
    return sorted(episodes, key=lambda episode: (episode.task, episode.number, str(episode.source)))


def episode_paths(folder: Path) -> Iterator[Path]:
    """Folders of pickles and hdf5 files under a folder that are RoboTwin episodes."""
    if folder.is_file():
        if folder.suffix in HDF5_SUFFIXES:
            yield folder
        return
    if episode_number(folder.name) is not None and (folder / "0.pkl").is_file():
        yield folder
        return
    for path in sorted(folder.rglob("episode*")):
        if {"_traj_data", ".cache"} & set(path.relative_to(folder).parts):
            continue
        if path.is_dir():
            is_episode = episode_number(path.name) is not None and _holds_frames(path)
        else:
            is_episode = episode_number(path.stem) is not None and path.suffix in HDF5_SUFFIXES
        if is_episode:
            yield path


def _holds_frames(folder: Path) -> bool:
    """Whether a folder named episode<i> holds pickles, or nothing at all (then reading it says what is wrong)."""
    children = list(folder.iterdir())
    return not children or any(child.suffix == ".pkl" for child in children)


def _read(path: Path, camera: str | None, save_freq: int | None) -> Episode:
    path = path.absolute()
    number = episode_number(path.stem)
    number = 0 if number is None else number
    if path.is_dir():
        task, named_save_freq = task_of_folder(path.parent.name)
        return read_pkl_episode(path, task=task, number=number, camera=camera, save_freq=save_freq or named_save_freq)
    return read_hdf5_episode(path, task=task_of_hdf5(path), number=number, camera=camera, save_freq=save_freq)


def task_of_hdf5(path: Path) -> str:
    """Task from the folders above an hdf5 file.

    .../<task>/<config>/data/episode0.hdf5 and .../<config>/<task>/<embodiment>/data/episode_0000000.hdf5 both have
    the task two above `data`; otherwise it is the folder that the file lies in.
    """
    parents = [parent.name for parent in path.parents]
    if parents[0] == "data" and len(parents) > 2:
        return task_of_folder(parents[2])[0] or parents[2]
    return task_of_folder(parents[0])[0] or parents[0]
