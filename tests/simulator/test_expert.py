"""Waypoints, grippers and the spacing of frames."""

import numpy as np
import pytest

from simulator.engine import mujoco
from simulator.expert import Operator, OutOfReachError, _minimum_jerk
from simulator.kinematics import Pose
from simulator.recorder import load_model
from simulator.robot import FINGER_CLOSED
from simulator.scene import make_scene_xml, sample_look


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return load_model(make_scene_xml("", sample_look(np.random.default_rng(0))))


def make_operator(model: mujoco.MjModel, save_freq: int) -> Operator:
    operator = Operator(model, mujoco.MjData(model), save_freq)
    operator.settle()
    return operator


@pytest.mark.parametrize("save_freq", [1, 15, 50])
def test_frames_are_save_freq_250ths_of_a_second_apart(model, save_freq):
    """Frame 0 at rest, then one whenever that time has passed, whatever the movements are."""
    operator = make_operator(model, save_freq)
    start = operator.data.time
    operator.wait(0.5)
    operator.wait(0.5)
    assert operator.data.time - start == pytest.approx(1.0)
    assert len(operator.snapshots) == 1 + int(250 / save_freq)


def test_the_tool_arrives(model):
    """Within a few millimetres of the goal, where the path took as long as the speed demands."""
    operator = make_operator(model, 50)
    goal = operator.poses["left"].shifted(x=0.05, y=0.1, z=-0.05)
    start = operator.data.time
    operator.move({"left": goal}, speed=0.2)
    length = np.linalg.norm([0.05, 0.1, 0.05])
    assert operator.data.time - start == pytest.approx(1.5 * length / 0.2, abs=0.021)
    operator.wait(0.3)
    assert np.linalg.norm(operator.tool_pose("left").position - goal.position) < 0.005


def test_a_closing_gripper_leaves_the_other_alone(model):
    """The state tells which one is closed."""
    operator = make_operator(model, 50)
    operator.grip({"right": FINGER_CLOSED})
    _, state = operator.snapshots[-1]
    assert state.shape == (14,)
    assert state[13] == FINGER_CLOSED and state[6] > 0.04


def test_a_path_out_of_reach_is_an_error_with_its_distance(model):
    """The attempt ends at once; nothing is played to its useless end."""
    operator = make_operator(model, 50)
    with pytest.raises(OutOfReachError, match="left arm stays .* mm short"):
        operator.move({"left": Pose(np.array([0, 1.0, 1.0]), operator.poses["left"].rotation)})


def test_movements_start_and_end_gently():
    """Shares of the way rise to exactly 1, slowest at both ends."""
    shares = _minimum_jerk(50)
    steps = np.diff(np.concatenate([[0], shares]))
    assert shares[-1] == 1 and np.all(steps > 0)
    assert steps[0] < steps[24] / 100 and steps[-1] < steps[24] / 100
