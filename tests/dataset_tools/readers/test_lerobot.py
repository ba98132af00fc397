"""Laws of reading LeRobot data sets, 2.1 and 3.0."""

import json

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.episode import Recording
from dataset_tools.readers.lerobot import find_episodes, slug
from dataset_tools.writers.lerobot import write_lerobot
from tests.dataset_tools.layouts import make_states, read_index, square_frames, write_video


@pytest.fixture
def version_3(tmp_path, episode):
    """Two episodes, 12 and 20 frames, in one video and one parquet file."""
    episodes = [episode(number=3, length=12), episode(number=7, length=20)]
    write_lerobot([Recording({"head": e}, instruction="push the square") for e in episodes], tmp_path / "set", rate=5.0)
    return tmp_path / "set"


def test_version_2_gives_frames_sentence_rate_and_actions(episode_file):
    (episode,) = find_episodes(episode_file("lerobot_2", number=5))
    assert [read_index(frame) for frame in episode.frames()] == list(range(12))
    assert (episode.task, episode.number) == ("block_hammer_beat", 5)
    assert (episode.instructions, episode.frames_per_second) == (("block hammer beat",), 10)
    assert episode.joints.states is None
    assert np.array_equal(episode.joints.actions, make_states(12))


def test_version_3_finds_each_episode_inside_the_shared_files(version_3):
    episodes = find_episodes(version_3)
    assert [(episode.number, episode.length) for episode in episodes] == [(3, 12), (7, 20)]
    for episode in episodes:
        assert [read_index(frame) for frame in episode.frames()] == list(range(episode.length))
        assert np.array_equal(episode.joints.states, make_states(episode.length).astype(np.float32))


def test_a_set_of_others_is_named_by_its_sentences_and_numbered_by_its_indices(version_3):
    (version_3 / "meta" / "episode_sources.jsonl").unlink()
    found = [(episode.task, episode.number) for episode in find_episodes(version_3)]
    assert found == [("push_the_square", 0), ("push_the_square", 1)]


def test_cameras_may_be_named_with_or_without_their_prefix(version_3):
    for camera in ("head", "observation.images.head"):
        assert find_episodes(version_3, camera=camera)[0].camera == "head"
    with pytest.raises(UserError, match="choose one of head"):
        find_episodes(version_3, camera="wrist")


def test_sentences_become_names_fit_for_files():
    assert slug("Put the cheese onto the cloth.") == "put_the_cheese_onto_the_cloth"
    assert slug("../..") == "task"


def set_info(root, **values):
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def set_source(root, **values):
    path = root / "meta" / "episode_sources.jsonl"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | values), *others]))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: set_info(root, codebase_version="v1.6"), "version v1.6, we read v2.0"),
        (lambda root: set_info(root, features=None), r"Expected `object`, got `null` - at `\$.features"),
        (lambda root: set_info(root, data_path=None), "Expected `str`, got `null`"),
        (lambda root: (root / "meta/info.json").write_bytes(b"\xff\xfe{"), "not UTF-8"),
        (lambda root: next(root.glob("data/*/*.parquet")).unlink(), "is missing though episode 0 is in it"),
        (lambda root: next(root.glob("meta/episodes/*/*.parquet")).write_bytes(b"PAR1"), "not a whole parquet file"),
        (lambda root: next(root.glob("meta/episodes/*/*.parquet")).unlink(), "holds no parquet files"),
        (lambda root: next(root.glob("videos/*/*/*.mp4")).unlink(), "there is no .*mp4"),
        (lambda root: set_info(root, data_path="../../{episode_index}"), "no path inside"),
        (lambda root: set_info(root, video_path="{0}"), "does not say where episode 0 is .*a field {0}"),
        (lambda root: set_info(root, data_path="{chunk_index:99999999999}"), "a field {chunk_index:99999999999}"),
        (lambda root: set_info(root, data_path="{episode_index.__class__}"), "may say {episode_index}"),
        (lambda root: set_info(root, chunks_size=0), "Expected `int` >= 1"),
        (lambda root: set_info(root, fps="5"), "Expected `float"),
        (lambda root: set_source(root, task="../VICTIM"), "no path inside"),
        (lambda root: set_source(root, number="0/../../x"), "Expected `int"),
        (lambda root: set_source(root, episode_index=None), "line 1, is not as it should be"),
    ],
)
def test_damage_is_named(version_3, damage, says):
    damage(version_3)
    with pytest.raises(UserError, match=says):
        find_episodes(version_3)


def test_an_episode_longer_than_its_video_is_refused(version_3):
    write_video(next(version_3.glob("videos/*/*/*.mp4")), square_frames(9), rate=5)
    with pytest.raises(UserError, match="has 9 frames, but episode 0 needs those up to 11"):
        find_episodes(version_3)
