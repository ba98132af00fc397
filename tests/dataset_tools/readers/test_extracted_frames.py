"""Laws of extracted frames."""

import pytest

from commands.errors import UserError
from dataset_tools.readers.extracted_frames import find_episodes
from tests.dataset_tools.layouts import read_index

LAYOUTS = ["flat_frames", "frame_folders", "raw_frames"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_are_sorted_as_numbers(episodes_folder, layout):
    found = find_episodes(episodes_folder(layout, count=11, length=12))
    assert [episode.number for episode in found] == list(range(11))
    assert [read_index(frame) for frame in found[10].frames()] == list(range(12))
    assert {episode.task for episode in found} == {"block_hammer_beat"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_frame_is_named(episodes_folder, layout):
    folder = episodes_folder(layout, count=2)
    lost = next(path for path in folder.rglob("*") if path.stem in ("5", "episode1_frame5") and "episode1" in str(path))
    lost.unlink()
    with pytest.raises(UserError, match="episode 1 in .* lacks frame 5"):
        find_episodes(folder)


def test_raw_recordings_have_their_cameras(episode_file):
    head = episode_file("raw_frames")
    head.with_name("left").mkdir()
    (head.with_name("left") / "0.png").write_bytes((head / "3.png").read_bytes())
    (episode,) = find_episodes(head.parents[3], camera="left")
    assert episode.cameras == ("head", "left") and read_index(episode.read_frame(0)) == 3


def test_the_rate_may_stand_in_the_folder_name(episode_file):
    folder = episode_file("flat_frames")
    renamed = folder.rename(folder.with_name("block_hammer_beat_sf50"))
    assert find_episodes(renamed)[0].frames_per_second == 5.0
