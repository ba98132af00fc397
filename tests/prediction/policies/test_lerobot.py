"""Laws of the two doors to LeRobot, against its interface: their policy in our world, ours in theirs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from commands.errors import MissingPackageError, UserError
from prediction.policies.kinds import load_policy
from prediction.policies.lerobot import LeRobotPolicy, PolicyForLeRobot

D = 14


class Theirs:
    """As LeRobot's ACT answers: a chunk of three, two of which are executed."""

    def __init__(self):
        shape = SimpleNamespace(shape=(3, 24, 32))
        features = {"observation.images.head_camera": shape, "observation.state": SimpleNamespace(shape=(D,))}
        self.config = SimpleNamespace(input_features=features, n_action_steps=2)
        self.resets = 0

    def reset(self):
        self.resets += 1

    def predict_action_chunk(self, batch):
        self.seen = batch
        return torch.stack([batch["observation.state"] + step for step in (1, 2, 3)], dim=1)


class TheirsWithoutChunks(Theirs):
    predict_action_chunk = property()  # hasattr says no

    def select_action(self, batch):
        return batch["observation.state"] + 1


OBSERVATION = {
    "pixels": {"head": np.full((48, 64, 3), 255, np.uint8)},
    "command": np.arange(D, dtype=float),
    "agent_pos": np.zeros(D),
    "instruction": "stack blocks",
}


@pytest.mark.parametrize(("kind", "steps"), [(Theirs, [1, 2]), (TheirsWithoutChunks, [1])])
def test_their_policy_acts_here(kind, steps):
    """Their batch, their processors, targets as we execute them."""
    theirs = kind()
    policy = LeRobotPolicy(theirs, lambda batch: batch, lambda actions: 10 * actions)
    assert policy.cameras == ("head",)
    policy.reset("stack blocks", "task", 0)
    targets = policy.act(OBSERVATION)
    np.testing.assert_allclose(targets, [10 * (OBSERVATION["command"] + step) for step in steps])
    assert theirs.resets == 1
    batch = policy.make_batch(OBSERVATION)
    assert batch["task"] == ["stack blocks"] and batch["observation.images.head_camera"].shape == (1, 3, 24, 32)
    assert batch["observation.images.head_camera"].min() == 1.0


class Ours:
    """Adds what its episode was told and what it sees."""

    cameras = ("head",)

    def reset(self, instruction, task, seed):
        self.told = len(instruction)

    def act(self, observation):
        assert observation["pixels"]["head"].dtype == np.uint8
        grey = observation["pixels"]["head"].mean()
        return np.stack([observation["command"] + self.told + grey, observation["command"]])


def test_our_policy_acts_there():
    """Every row of a batch is an episode of its own; a chunk is worked off before the next is asked for."""
    policy = PolicyForLeRobot(Ours)
    batch = {
        "observation.state": torch.zeros(2, D),
        "observation.images.head": torch.ones(2, 3, 4, 4),
        "task": ["a", "abc"],
    }
    chunk = policy.predict_action_chunk(batch)
    assert chunk.shape == (2, 2, D) and chunk[:, 0, 0].tolist() == [256.0, 258.0]
    policy.reset()
    first, second = policy.select_action(batch), policy.select_action(batch)
    assert torch.equal(first, chunk[:, 0]) and torch.equal(second, chunk[:, 1])
    with pytest.raises(UserError, match=r"wanted observation\.images\.head"):
        PolicyForLeRobot(Ours).select_action({"observation.state": torch.zeros(1, D), "task": [""]})


def test_without_lerobot_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lerobot.configs.policies", None)
    with pytest.raises(MissingPackageError, match="Python 3.12"):
        load_policy("lerobot:somebody/act")
