"""Waypoints, grippers, the operator's noise, and scripts that reach their goals."""

import numpy as np
import pytest

from simulator import expert
from simulator.expert import SCRIPTS, Operator, OutOfReachError, Tremor, _minimum_jerk
from simulator.kinematics import Pose
from simulator.recorder import simulate
from simulator.robot import FINGER_CLOSED
from simulator.tasks import TASKS
from simulator.world import World


@pytest.fixture
def operator() -> Operator:
    world = World()
    world.reset("blocks_stack_easy", 0)
    return Operator(world)


def test_every_task_has_a_script():
    assert SCRIPTS.keys() == TASKS.keys()


@pytest.mark.parametrize("name", ["block_handover", "blocks_stack_easy"])
def test_the_script_reaches_its_goal(name):
    """On a seed that is as good as any: of 60 tried none failed."""
    assert simulate(name, 1, save_freq=500).success


def test_a_strike_that_stops_above_the_block_is_no_success(monkeypatch):
    """Geometry alone would let 2 mm of air pass."""
    monkeypatch.setattr(expert, "STRIKE_DEPTH", -0.003)
    world = World()
    world.reset("block_hammer_beat", 0)
    SCRIPTS["block_hammer_beat"](Operator(world))
    assert not world.succeeded() and not world.touched
    assert world.succeeded().parts == {"grasped": 1.0, "lifted": 1.0, "touched": 0.0, "placed": 1.0}


def test_the_tool_arrives(operator):
    """Within a few millimetres of the goal, where the path took as long as the speed demands."""
    goal = operator.poses["left"].shifted(x=0.05, y=0.1, z=-0.05)
    start = operator.world.seconds
    operator.move({"left": goal}, speed=0.2)
    length = np.linalg.norm([0.05, 0.1, 0.05])
    assert operator.world.seconds - start == pytest.approx(1.5 * length / 0.2, abs=0.021)
    operator.wait(0.3)
    assert np.linalg.norm(operator.tool_pose("left").position - goal.position) < 0.005


def test_a_closing_gripper_leaves_the_other_alone(operator):
    """The command tells which one is closed."""
    operator.grip({"right": FINGER_CLOSED})
    target = operator.world.state().target
    assert target[13] == FINGER_CLOSED and target[6] > 0.04
    assert np.array_equal(operator.label(1.0), target)


def test_a_path_out_of_reach_is_an_error_with_its_distance(operator):
    """The attempt ends at once; nothing is played to its useless end."""
    with pytest.raises(OutOfReachError, match="left arm stays .* mm short"):
        operator.move({"left": Pose(np.array([0, 1.0, 1.0]), operator.poses["left"].rotation)})


def test_movements_start_and_end_gently():
    """Shares of the way rise to exactly 1, slowest at both ends."""
    shares = _minimum_jerk(50)
    steps = np.diff(np.concatenate([[0], shares]))
    assert shares[-1] == 1 and np.all(steps > 0)
    assert steps[0] < steps[24] / 100 and steps[-1] < steps[24] / 100


def test_a_tremor_moves_from_goal_to_goal():
    """It begins at rest, goes on straight lines of eight ticks, spares the fingers, and has the size asked for."""
    tremor = Tremor(0.01, np.random.default_rng(0))
    noise = np.stack([tremor.next() for _ in range(4000)])
    assert np.allclose(noise[:8], noise[7] * np.arange(1, 9)[:, None] / 8)
    assert not noise[:, [6, 13]].any()
    assert noise[7::8][:, :6].std() == pytest.approx(0.01, rel=0.1)
