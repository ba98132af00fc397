"""Poses of a gripper, and the joint angles that reach them: inverse kinematics by damped least squares.

Tool frame: x points out of the gripper, the fingers close along y.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.engine import mujoco
from simulator.robot import NUM_JOINTS

POSITION_TOLERANCE = 2e-4  # metres
ROTATION_TOLERANCE = 2e-3  # radians
ROTATION_WEIGHT = 0.3  # metres per radian: a wrist turned by 1 degree counts like 5 mm
DAMPING = 1e-4
LARGEST_STEP = 0.2  # radians per joint and iteration
MAX_ITERATIONS = 12  # a warm start on a path needs one or two


@dataclass(frozen=True)
class Pose:
    """A tool frame in world coordinates: position (3,) in metres and rotation (3, 3)."""

    position: np.ndarray
    rotation: np.ndarray

    def shifted(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Pose":
        """The same orientation, moved by (x, y, z) metres in the world."""
        return Pose(self.position + np.array([x, y, z]), self.rotation)


@dataclass(frozen=True)
class Arm:
    """Addresses of one arm in MuJoCo's arrays."""

    qpos: np.ndarray  # (6,) addresses of the joint angles
    dofs: np.ndarray  # (6,) addresses of the joint velocities
    servos: np.ndarray  # (6,) actuators of the joints
    finger_qpos: np.ndarray  # (2,)
    finger_servos: np.ndarray  # (2,)
    limits: np.ndarray  # (6, 2) radians
    tool: int  # site


def find_arm(model: mujoco.MjModel, side: str) -> Arm:
    """The addresses of the arm on `side`."""
    joints = [model.joint(f"{side}_joint{i}") for i in range(1, NUM_JOINTS + 1)]
    return Arm(
        qpos=np.array([joint.qposadr[0] for joint in joints]),
        dofs=np.array([joint.dofadr[0] for joint in joints]),
        servos=np.array([model.actuator(f"{side}_servo{i}").id for i in range(1, NUM_JOINTS + 1)]),
        finger_qpos=np.array([model.joint(f"{side}_slide_{letter}").qposadr[0] for letter in "ab"]),
        finger_servos=np.array([model.actuator(f"{side}_grip_{letter}").id for letter in "ab"]),
        limits=np.array([joint.range for joint in joints]),
        tool=model.site(f"{side}_tool").id,
    )


def read_opening(data: mujoco.MjData, arm: Arm) -> float:
    """How far the fingers are out, in metres: the mean of the two."""
    a, b = arm.finger_qpos
    return 0.5 * float(data.qpos[a] + data.qpos[b])


def measure_state(arms: Mapping[str, Arm], qpos: np.ndarray) -> np.ndarray:
    """Joint angles and finger openings, (..., 14), of positions (..., nq): left 6 + gripper, right 6 + gripper."""
    parts = []
    for arm in arms.values():
        parts += [qpos[..., arm.qpos], qpos[..., arm.finger_qpos].mean(axis=-1, keepdims=True)]
    return np.concatenate(parts, axis=-1)


def read_tool_pose(data: mujoco.MjData, arm: Arm) -> Pose:
    """Where the tool is now."""
    return Pose(data.site_xpos[arm.tool].copy(), data.site_xmat[arm.tool].reshape(3, 3).copy())


def look_down(yaw: float) -> np.ndarray:
    """Rotation (3, 3) of a gripper that points down and closes along `yaw` (radians), wrist as little turned as can be.

    The two fingers are alike, so `yaw` and `yaw` + pi mean the same grasp.
    """
    yaw = np.pi + wrap_angle(yaw, np.pi)
    x = np.array([0.0, 0.0, -1.0])
    y = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return np.stack([x, y, np.cross(x, y)], axis=1)


def look_along(yaw: float) -> np.ndarray:
    """Rotation (3, 3) of a level gripper that points along `yaw` (radians)."""
    x = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    z = np.array([0.0, 0.0, 1.0])
    return np.stack([x, np.cross(z, x), z], axis=1)


def wrap_angle(angle: float, period: float) -> float:
    """The same angle in [-period / 2, period / 2)."""
    return (angle + period / 2) % period - period / 2


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle, (3,) in radians, of a rotation matrix (3, 3)."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) about the axis `vector` (3,) by its length in radians."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


class InverseKinematics:
    """Joint angles for a tool pose; works on a copy of the state, so that the simulation is not disturbed."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.scratch = mujoco.MjData(model)
        self.jacobians = np.zeros((3, model.nv)), np.zeros((3, model.nv))

    def solve(self, arm: Arm, start: np.ndarray, goal: Pose) -> tuple[np.ndarray, float]:
        """Angles (6,) that bring the tool to `goal`, searched from `start` (6,), and the distance left in metres."""
        # Notation: q = angles, J = Jacobian (6, 6), e = error (6,), dq = J^T (J J^T + d I)^-1 e.
        q = start
        e = self._error(arm, q, goal)
        for _ in range(MAX_ITERATIONS):
            if np.abs(e[:3]).max() < POSITION_TOLERANCE and np.abs(e[3:]).max() < ROTATION_TOLERANCE:
                break
            translation, turn = self.jacobians
            mujoco.mj_comPos(self.model, self.scratch)
            mujoco.mj_jacSite(self.model, self.scratch, translation, turn, arm.tool)
            J = np.vstack([translation[:, arm.dofs], ROTATION_WEIGHT * turn[:, arm.dofs]])
            weighted = np.concatenate([e[:3], ROTATION_WEIGHT * e[3:]])
            dq = J.T @ np.linalg.solve(J @ J.T + DAMPING * np.eye(6), weighted)
            q = np.clip(q + np.clip(dq, -LARGEST_STEP, LARGEST_STEP), arm.limits[:, 0], arm.limits[:, 1])
            e = self._error(arm, q, goal)
        return q, float(np.linalg.norm(e[:3]))

    def _error(self, arm: Arm, q: np.ndarray, goal: Pose) -> np.ndarray:
        self.scratch.qpos[arm.qpos] = q
        mujoco.mj_kinematics(self.model, self.scratch)
        now = read_tool_pose(self.scratch, arm)
        return np.concatenate([goal.position - now.position, rotation_vector(goal.rotation @ now.rotation.T)])
