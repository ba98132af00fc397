"""Laws of reading CALVIN: annotated stretches or play, both cameras, 15 states, 7 actions; nothing of a file is run."""

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.prepare_episodes import main as prepare
from dataset_tools.readers.calvin import ACTION_NAMES, STATE_NAMES
from dataset_tools.readers.detect import detect_layout, find_episodes
from formats.prepared_episodes import EpisodeFolder
from tests.dataset_tools.layouts import make_states, read_index, write_calvin
from tests.dataset_tools.readers.test_safe_pickle import Runs

FIRST = 358482
STRETCHES = [
    ("move the sliding door to the left", "move_slider_left", FIRST + 2, FIRST + 9),
    ("push the handle of the drawer", "close_drawer", FIRST + 8, FIRST + 19),
]


@pytest.fixture
def split(tmp_path):
    return write_calvin(tmp_path / "task_D_D" / "training", STRETCHES)


def test_an_annotated_stretch_is_an_episode(split):
    assert detect_layout(split.parent) == "calvin"
    drawer, slider = find_episodes(split)
    assert (drawer.task, drawer.number, drawer.length) == ("close_drawer", 1, 12)
    assert slider.instructions == ("move the sliding door to the left",) and slider.frames_per_second == 30
    assert [read_index(frame) for frame in slider.frames()] == list(range(2, 10))
    joints = slider.joints
    assert np.array_equal(joints.states, make_states(20, 15)[2:10])
    assert np.array_equal(joints.actions, make_states(20, 7)[2:10])
    assert np.array_equal(joints.angles, joints.states[:, 7:14])
    assert (joints.state_names, joints.action_names) == (STATE_NAMES, ACTION_NAMES)
    assert find_episodes(split, camera="rgb_gripper")[0].read_frame(0)[0, 0].tolist() == [40, 120, 40]


def test_play_without_sentences_is_read_too(tmp_path):
    (episode,) = find_episodes(write_calvin(tmp_path / "play", [], length=5))
    assert (episode.task, episode.length, episode.instructions) == ("play", 5, ())


def test_it_becomes_prepared_episodes(tmp_path, split):
    arguments = ["--episodes", str(split), "--actions", "deltas", "--val", "0", "--test", "0", "--size", "32", "16"]
    assert prepare([*arguments, "--camera", "rgb_static", "rgb_gripper", "--output", str(tmp_path / "out")]) == 0
    window = EpisodeFolder(tmp_path / "out").window(1, 3, chunk=2, ahead=(4,))
    assert [frame.shape[0] for frame in window.frames.values()] == [32, 16]
    assert read_index(window.frames["rgb_static"]) == 5 and read_index(window.future["rgb_static"][0]) == 9
    assert np.allclose(window.actions, make_states(20, 7)[5:7], atol=1e-6)


def damage(split, name, **arrays):
    path = split / f"episode_{FIRST + name:07d}.npz"
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **(content | arrays))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: (s / f"episode_{FIRST + 9:07d}.npz").unlink(), "there is no .*0358491.npz"),
        (lambda s: (s / f"episode_{FIRST + 8:07d}.npz").write_bytes(b"PK"), "0358490.npz is not as it should be"),
        (lambda s: damage(s, 8, rgb_static=np.zeros((4, 4), np.uint8)), "no picture"),
        (lambda s: damage(s, 8, robot_obs=np.full(15, np.nan)), "robot_obs or rel_actions .* are broken"),
        (lambda s: damage(s, 8, rel_actions=np.zeros(6)), "wanted 7 finite numbers"),
        (lambda s: damage(s, 8, rel_actions=np.array(Runs("false"))), "not as it should be .*allow_pickle=False"),
        (lambda s: np.save(s / "lang_annotations/auto_lang_ann.npy", Runs("false")), "refused, nothing was run"),
        (lambda s: np.save(s / "lang_annotations/auto_lang_ann.npy", np.ones(3)), "holds no single object"),
        (lambda s: np.save(s / "lang_annotations/auto_lang_ann.npy", {"info": 3}), "not as it should be"),
        (lambda s: (s / "lang_annotations/auto_lang_ann.npy").write_bytes(b"no"), "no array of numpy"),
    ],
)
def test_damage_is_one_sentence(split, harm, says):
    harm(split)
    with pytest.raises(UserError, match=says):
        for episode in find_episodes(split):
            episode.read_frame(0), episode.joints


def test_stretches_that_end_before_they_begin_or_lack_a_sentence_are_refused(tmp_path):
    with pytest.raises(UserError, match="ends at frame 358484, before it begins at 358485"):
        find_episodes(write_calvin(tmp_path / "a", [("x", "turn", FIRST + 3, FIRST + 2)]))
    split = write_calvin(tmp_path / "b", STRETCHES)
    content = np.load(split / "lang_annotations/auto_lang_ann.npy", allow_pickle=True).item()
    content["language"]["ann"].pop()
    np.save(split / "lang_annotations/auto_lang_ann.npy", content)
    with pytest.raises(UserError, match="has 1 sentences, 2 tasks and 2 stretches"):
        find_episodes(split)
