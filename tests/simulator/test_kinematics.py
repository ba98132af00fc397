"""Inverse kinematics against MuJoCo's forward kinematics."""

import numpy as np
import pytest

from simulator import kinematics
from simulator.engine import load_model, mujoco
from simulator.kinematics import InverseKinematics, Pose, find_arm, look_along, look_down, read_tool_pose
from simulator.robot import HOME, SIDES
from simulator.scene import make_scene_xml, sample_look


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return load_model(make_scene_xml("", sample_look(np.random.default_rng(0))))


@pytest.mark.parametrize("side", SIDES)
def test_angles_found_lead_to_the_pose_asked(model, side):
    """Forward after inverse is the identity, for poses that some angles have."""
    arm, solver, data = find_arm(model, side), InverseKinematics(model), mujoco.MjData(model)
    rng = np.random.default_rng(1)
    for _ in range(10):
        data.qpos[arm.qpos] = np.array([0, 1.2, 1.0, -0.3, 0, 0]) + rng.uniform(-0.2, 0.2, 6)
        start = data.qpos[arm.qpos] + rng.uniform(-0.1, 0.1, 6)
        mujoco.mj_kinematics(model, data)
        goal = read_tool_pose(data, arm)
        angles, distance = solver.solve(arm, start, goal)
        data.qpos[arm.qpos] = angles
        mujoco.mj_kinematics(model, data)
        found = read_tool_pose(data, arm)
        assert distance < 1e-3
        assert np.allclose(found.position, goal.position, atol=1e-3)
        assert np.allclose(found.rotation, goal.rotation, atol=5e-3)


def test_a_goal_out_of_reach_leaves_its_distance(model):
    """Two metres up no arm gets; the angles stay within their limits."""
    arm = find_arm(model, "left")
    angles, distance = InverseKinematics(model).solve(arm, np.array(HOME), Pose(np.array([0, 0, 3.0]), np.eye(3)))
    assert distance > 1
    assert np.all((arm.limits[:, 0] <= angles) & (angles <= arm.limits[:, 1]))


@pytest.mark.parametrize("yaw", [-1.4, 0.0, 0.7, 2.5])
def test_grippers_point_where_they_are_told(yaw):
    """Down, closing along yaw; or level along yaw. Both are rotations."""
    closing = look_down(yaw)[:, 1]
    assert abs(closing @ [np.cos(yaw), np.sin(yaw), 0]) == pytest.approx(1)
    assert look_down(yaw)[:, 0] == pytest.approx([0, 0, -1])
    assert look_along(yaw)[:, 0] == pytest.approx([np.cos(yaw), np.sin(yaw), 0])
    for rotation in (look_down(yaw), look_along(yaw)):
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_rotation_vectors_and_matrices_are_inverse():
    """For angles below pi, and for no rotation at all."""
    for vector in (np.zeros(3), np.array([0.3, -1.0, 2.0])):
        assert np.allclose(kinematics.rotation_vector(kinematics.rotation_matrix(vector)), vector)


def test_wrapped_angles_differ_by_whole_periods():
    """And lie in [-period / 2, period / 2)."""
    for angle in np.linspace(-10, 10, 41):
        wrapped = kinematics.wrap_angle(angle, np.pi / 2)
        turns = (angle - wrapped) / (np.pi / 2)
        assert -np.pi / 4 <= wrapped < np.pi / 4
        assert turns == pytest.approx(round(turns))
