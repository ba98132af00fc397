"""Scenes are within reach, scripts succeed, and success means what it says."""

import re

import numpy as np
import pytest

from simulator import tasks
from simulator.engine import mujoco
from simulator.expert import Operator
from simulator.recorder import load_model, simulate
from simulator.scene import make_scene_xml, sample_look
from simulator.tasks import TASKS


def play(name: str, seed: int) -> tuple[Operator, bool]:
    task = TASKS[name]
    rng = np.random.default_rng(seed)
    model = load_model(make_scene_xml(task.place_objects(rng), sample_look(rng)))
    operator = Operator(model, mujoco.MjData(model), 50, task.watched)
    operator.settle()
    return operator, task.script(operator)


def read_places(objects: str) -> np.ndarray:
    return np.array(
        [[float(x) for x in text.split()] for text in re.findall(r'<body name="\w+" pos="([^"]+)"', objects)]
    )


@pytest.mark.parametrize("name", ["block_handover", "blocks_stack_easy"])
def test_the_script_reaches_its_goal(name):
    """On a seed that is as good as any: of 60 tried none failed."""
    assert simulate(name, 1, save_freq=500).success


def test_success_with_the_hammer_means_that_it_touched_the_block():
    """Contact is counted by the physics engine."""
    operator, success = play("block_hammer_beat", 0)
    assert success and operator.touches > 0


def test_a_strike_that_stops_above_the_block_is_no_success(monkeypatch):
    """Geometry alone would let 2 mm of air pass."""
    monkeypatch.setattr(tasks, "STRIKE_DEPTH", -0.003)
    operator, success = play("block_hammer_beat", 0)
    assert not success and operator.touches == 0


def test_objects_lie_in_robotwins_ranges():
    """x in [-0.25, 0.25]; y by task; blocks keep their distances."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        _, block = read_places(TASKS["block_hammer_beat"].place_objects(rng))
        assert 0.05 <= abs(block[0]) <= 0.25 and -0.05 <= block[1] <= 0.15
        bar, pad = read_places(TASKS["block_handover"].place_objects(rng))
        assert -0.25 <= bar[0] <= -0.05 and 0 <= bar[1] <= 0.2
        assert tuple(pad[:2]) == (0.23, 0.09)
        red, black = read_places(TASKS["blocks_stack_easy"].place_objects(rng))
        assert np.linalg.norm(red - black) > 0.1
        assert max(abs(red[0]), abs(black[0])) <= 0.25


def test_the_sentences_for_testing_are_unseen():
    """No sentence is in both lists."""
    for task in TASKS.values():
        assert task.instructions and task.unseen_instructions
        assert not set(task.instructions) & set(task.unseen_instructions)
