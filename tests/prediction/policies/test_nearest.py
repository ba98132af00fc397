"""Laws of the copy-input of control: the episode that looks alike is replayed, of training alone."""

import numpy as np
import pytest

from commands.errors import UserError
from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, measure_statistics, write_episode
from prediction.policies.kinds import load_policy

D, LENGTH = 14, 4


@pytest.fixture
def folder(tmp_path):
    """Episode i is of grey value 50 i, its commands are i; the last one is for testing."""

    def make(cameras=("head_camera", "left_camera"), actions=True):
        listed, motions = [], []
        for number, split in enumerate(("train", "train", "test")):
            name = f"push/{number}"
            episode = PreparedEpisode(name, "push", number, split, LENGTH, cameras, ("push it",))
            rows = np.full((LENGTH, D), number, np.float32)
            motion = Motion(rows, rows if actions else None)
            frames = {camera: np.full((LENGTH, 8, 8, 3), 50 * number, np.uint8) for camera in cameras}
            write_episode(tmp_path / name, episode, frames, motion)
            listed.append(episode)
            motions.append(motion)
        finish_folder(tmp_path, listed, measure_statistics(motions, 2, relative=True), {})
        return f"nearest:{tmp_path}"

    return make


def see(grey: int) -> dict:
    return {"pixels": {camera: np.full((24, 32, 3), grey, np.uint8) for camera in ("head", "left")}}


def test_the_episode_that_looks_alike_is_replayed_then_held(folder):
    policy = load_policy(folder())
    assert policy.cameras == ("head", "left") and policy.settings()["episodes"] == 2
    for grey, episode in ((10, 0), (45, 1), (100, 1)):  # 100 is the test episode, which is nobody's to copy
        policy.reset("push it", "push", 0)
        assert np.array_equal(policy.act(see(grey)), np.full((LENGTH - 1, D), episode))
        assert np.array_equal(policy.act(see(0)), np.full((LENGTH - 1, D), episode))  # chosen by the first pictures


@pytest.mark.parametrize(
    ("changes", "says"), [({"cameras": ()}, "holds no pictures"), ({"actions": False}, "has no actions to replay")]
)
def test_episodes_that_cannot_be_compared_or_replayed_are_refused(folder, changes, says):
    with pytest.raises(UserError, match=says):
        load_policy(folder(**changes))
