"""Laws of finding RoboTwin episodes in folders as people have them."""

from pathlib import Path

import pytest

from commands.errors import UserError
from dataset_tools.readers.robotwin import find_episodes, task_of_hdf5
from tests.dataset_tools.layouts import read_index


def test_episodes_are_sorted_by_task_then_as_numbers(episodes_folder):
    folder = episodes_folder("hdf5", tasks=("stack_blocks_two", "beat_block_hammer"), count=12, length=2)
    found = [(episode.task, episode.number) for episode in find_episodes(folder)]
    tasks = ("beat_block_hammer", "stack_blocks_two")
    assert found == [(task, number) for task in tasks for number in range(12)]


@pytest.mark.parametrize(
    "name",
    ["block_hammer_beat_pkl", "block_hammer_beat_D435_pkl", "block-hammer-beat", "block_hammer_beat_sf50_D435_pkl"],
)
def test_renamed_pkl_folders_keep_their_task(episode_file, name):
    folder = episode_file("pkl").parent
    renamed = folder.rename(folder.with_name(name))
    (episode,) = find_episodes(renamed.parent)
    assert (episode.task, episode.number) == ("block_hammer_beat", 0)
    assert episode.save_freq == (50 if "sf50" in name else None)


def test_what_is_no_episode_is_left_alone(episode_file):
    path = episode_file("hdf5")
    config = path.parents[1]
    for folder in ("_traj_data", "video", ".cache"):
        (config / folder).mkdir()
        (config / folder / "episode0.pkl").touch()
        (config / folder / "episode0.hdf5").touch() if folder != "video" else (config / folder / "episode0.mp4").touch()
    (config / "data" / "episode1.hdf5.partial").touch()
    assert [episode.source for episode in find_episodes(config)] == [path]


def test_episodes_below_a_cache_are_found(episode_file):
    """As Hugging Face keeps its downloads: only what lies hidden below the given folder is left alone."""
    path = episode_file("hdf5", root=".cache/downloads")
    assert [episode.source for episode in find_episodes(path.parents[3])] == [path]


def test_paths_with_spaces_and_other_alphabets_work(episode_file):
    path = episode_file("hdf5", root="Roboter Daten/机器人 données")
    assert read_index(find_episodes(path.parents[3])[0].read_frame(3)) == 3


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("data/beat_block_hammer/demo_clean/data/episode0.hdf5", "beat_block_hammer"),
        ("data/demo_clean/beat_block_hammer/aloha-agilex/data/episode_0000000.hdf5", "beat_block_hammer"),
        ("processed_data/block_hammer_beat_D435_pkl_100/episode_0.hdf5", "block_hammer_beat"),
    ],
)
def test_the_task_of_an_hdf5_file_stands_in_its_path(path, task):
    assert task_of_hdf5(Path("/x") / path) == task


def test_an_empty_folder_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="no RoboTwin episodes under"):
        find_episodes(tmp_path)
    (tmp_path / "task_pkl" / "episode0").mkdir(parents=True)
    with pytest.raises(UserError, match="episode0 is empty"):
        find_episodes(tmp_path)
