"""Laws of prepared episodes: windows, scales, and what a damaged folder is answered with."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commands.errors import UserError
from formats import prepared_episodes as format
from formats.prepared_episodes import EpisodeFolder, Motion, PreparedEpisode, measure_statistics

LENGTH, SIDE = 20, 4


def make_motion(shift: float = 0.0) -> Motion:
    """Joint 0 moves by 0.1 a frame, joint 1 rests, both actions are one frame ahead; the gripper too is at rest."""
    states = np.zeros((LENGTH, 7), np.float32)
    states[:, 0] = 0.1 * np.arange(LENGTH) + shift
    return Motion(states, np.concatenate([states[1:], states[-1:]]), states + 0.01, np.ones((LENGTH, 2, 7), np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Two episodes of training and one of testing, whose pixels tell the frame; the last has no actions."""

    def write(*, second: Motion | None = None) -> Path:
        episodes, motions = [], [make_motion(), second or make_motion(1.0), Motion()]
        for number, (split, motion) in enumerate(zip(("train", "train", "test"), motions, strict=True)):
            name = f"push/{number}"
            episode = PreparedEpisode(
                name, "push", number, split, LENGTH, ("head", "left"), ("push\u2028it",), (), 10.0
            )
            frames = np.arange(LENGTH, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIDE, SIDE, 3), np.uint8)
            format.write_episode(tmp_path / name, episode, {"head": frames, "left": frames + 100}, motion)
            episodes.append(episode)
        statistics = measure_statistics(motions[:2], 4, relative=True)
        format.finish_folder(tmp_path, episodes, statistics, {"options": 1})
        return tmp_path

    return write


def test_a_window_is_what_was_seen_and_done(folder):
    """Frames by camera, the state, the actions from there on, and the frames ahead with their seconds."""
    episodes = EpisodeFolder(folder(), "train")
    window = episodes.window(1, 3, chunk=5, ahead=(2, 10))
    assert {camera: frame[0, 0, 0] for camera, frame in window.frames.items()} == {"head": 3, "left": 103}
    assert window.future["head"][:, 0, 0, 0].tolist() == [5, 13] and window.future_valid.all()
    assert window.seconds == pytest.approx([0.2, 1.0])
    assert window.state[0] == pytest.approx(1.3) and window.measured[0] == pytest.approx(1.31)
    assert window.actions[:, 0] == pytest.approx(1.3 + 0.1 * np.arange(1, 6)) and window.action_valid.all()
    assert window.objects.shape == (2, 7) and episodes.episodes[1].instructions == ("push\u2028it",)


def test_past_the_end_the_last_is_repeated_and_not_valid(folder):
    """An action leads to a frame: the last frame has none."""
    window = EpisodeFolder(folder(), "train").window(0, LENGTH - 3, chunk=4, ahead=(1, 5))
    assert window.action_valid.tolist() == [True, True, False, False]
    assert window.future_valid.tolist() == [True, False]
    assert window.future["head"][:, 0, 0, 0].tolist() == [LENGTH - 2, LENGTH - 1]


def test_an_episode_without_actions_is_valid_for_pictures_only(folder):
    """Its numbers are zeros of the folder's sizes."""
    window = EpisodeFolder(folder(), "test").window(0, 0, chunk=3, ahead=(1,))
    assert window.state.shape == (7,) and window.actions.shape == (3, 7) and not window.state_valid
    assert not window.action_valid.any() and window.future_valid.all()


def test_scales_have_floors_and_grow_with_the_step(folder):
    """Relative to the state, step h of this motion is exactly 0.1 (h + 1); what rests is scaled by its floor."""
    statistics = EpisodeFolder(folder()).statistics
    assert np.array(statistics.action_mean)[:, 0] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert np.allclose(statistics.action_std, [[0.02] * 6 + [0.005]] * 4)
    assert statistics.state_std[1:] == [0.02] * 5 + [0.005] and statistics.state_max[0] == pytest.approx(2.9)
    assert (statistics.chunk, statistics.episodes, statistics.frames) == (4, 2, 40)
    absolute = measure_statistics([make_motion()], 1, relative=False)
    assert absolute.action_mean[0][0] == pytest.approx(np.mean(0.1 * np.arange(1, LENGTH)))
    assert measure_statistics([Motion()], 1, relative=True) is None


def test_robots_are_not_mixed():
    """One folder, one size of state and action."""
    other = Motion(np.zeros((LENGTH, 3)), np.zeros((LENGTH, 3)))
    with pytest.raises(UserError, match="prepare each robot apart"):
        measure_statistics([make_motion(), other], 1, relative=True)
    with pytest.raises(UserError, match="--actions deltas"):
        measure_statistics([Motion(np.zeros((LENGTH, 3)), np.zeros((LENGTH, 2)))], 1, relative=True)


def test_an_opened_folder_travels_without_its_pictures(folder):
    """A loader's process opens them itself; pictures are mapped, not read."""
    episodes = EpisodeFolder(folder())
    episodes.window(0, 0, chunk=1)
    assert isinstance(episodes.frames(0, "head"), np.memmap)
    again = pickle.loads(pickle.dumps(episodes))
    assert len(pickle.dumps(episodes)) < 20_000 and again.window(1, 2, chunk=1).frames["head"][0, 0, 0] == 2
    assert EpisodeFolder(folder(), cameras=("left",)).window(0, 0, chunk=1).frames.keys() == {"left"}


def change_statistics(folder: Path) -> None:
    path = folder / format.STATISTICS
    path.write_text(json.dumps({**json.loads(path.read_text()), "frames": 41}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_statistics, "do not give its hash"),
        (lambda folder: (folder / "push/1/motion.npz").write_bytes(b"PK"), "motion.npz is not as it should be"),
        (lambda folder: np.savez(folder / "push/1/motion.npz", states=np.zeros((3, 7))), "wanted 20 rows"),
        (lambda folder: (folder / "push/1/left.npy").unlink(), "left.npy is not as it should be"),
        (lambda folder: np.save(folder / "push/1/left.npy", np.zeros((3, 4))), "not 20 pictures"),
        (lambda folder: (folder / format.INDEX).unlink(), "prepare_episodes --episodes"),
        (lambda folder: rewrite(folder, "push/1", "../1"), "climb|leave|inside"),
        (lambda folder: rewrite(folder, "push/1", "push/0"), "episode push/0 twice"),
        (lambda folder: rewrite(folder, '"length": 20', '"length": 0'), "length"),
    ],
)
def test_a_damaged_folder_is_one_sentence(folder, damage, message):
    """With the file and the mend."""
    place = folder()
    damage(place)
    with pytest.raises(UserError, match=message):
        EpisodeFolder(place).window(1, 0, chunk=1)


def rewrite(folder: Path, old: str, new: str) -> None:
    path = folder / format.INDEX
    path.write_text(path.read_text().replace(old, new))


def test_a_split_or_camera_that_is_not_there_is_refused(folder):
    place = folder()
    for arguments, message in (
        (("val",), "no episodes in split"),
        ((None, ("top",)), "no.*camera 'top'|a camera 'top'"),
    ):
        with pytest.raises(UserError, match=message):
            EpisodeFolder(place, *arguments)
    with pytest.raises(UserError, match="not one of train"):
        format.read_episodes(place, "dev")
