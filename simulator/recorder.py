"""One episode in two passes: play it and keep the state of every frame, then draw the frames of what succeeded.

A rejected attempt costs no rendering.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.engine import mujoco, open_renderer
from simulator.expert import Operator, OutOfReachError
from simulator.kinematics import find_arm
from simulator.robot import SIDES
from simulator.scene import (
    CAMERAS,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    WOOD_FILE,
    make_scene_xml,
    sample_look,
    wood_png,
)
from simulator.tasks import TASKS


@dataclass(frozen=True)
class CameraView:
    """Where a camera was, in RoboTwin's three matrices."""

    intrinsic: np.ndarray  # (3, 3) pixels
    extrinsic: np.ndarray  # (T, 3, 4) world to camera; x right, y down, z forward
    cam2world_gl: np.ndarray  # (T, 4, 4) camera to world; x right, y up, z backwards


@dataclass(frozen=True)
class Trajectory:
    """What happened: enough to draw every frame again."""

    scene: str  # MJCF
    success: bool
    qpos: np.ndarray  # (T, nq): everything's position at frame t, `save_freq` / 250 seconds apart
    states: np.ndarray  # (T, 14) joint targets: left 6 + gripper, right 6 + gripper
    endposes: np.ndarray  # (T, 2, 7) left and right tool: x, y, z, quaternion w, x, y, z


@dataclass(frozen=True)
class Footage:
    """What the cameras saw, by RoboTwin's camera names."""

    frames: dict[str, np.ndarray]  # uint8 (T, 240, 320, 3) RGB
    views: dict[str, CameraView]


def simulate(task_name: str, seed: int, save_freq: int) -> Trajectory:
    """Play one attempt. The seed alone decides objects and light; physics does not depend on `save_freq`."""
    task = TASKS[task_name]
    rng = np.random.default_rng(seed)
    objects = task.place_objects(rng)
    scene = make_scene_xml(objects, sample_look(rng))
    model = load_model(scene)
    operator = Operator(model, mujoco.MjData(model), save_freq, task.watched)
    operator.settle()
    try:
        success = task.script(operator)
    except OutOfReachError:
        success = False
    qpos, states = (np.stack(column) for column in zip(*operator.snapshots, strict=True))
    return Trajectory(scene, success, qpos, states, _measure_endposes(model, qpos))


def render(trajectory: Trajectory, cameras: Sequence[str]) -> Footage:
    """Draw every frame of the cameras, named as in scene.CAMERAS."""
    model = load_model(trajectory.scene)
    data = mujoco.MjData(model)
    names = [CAMERAS[camera] for camera in cameras]
    num_frames = len(trajectory.qpos)
    frames = {name: np.empty((num_frames, FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8) for name in names}
    poses = {name: np.tile(np.eye(4), (num_frames, 1, 1)) for name in names}
    with open_renderer(model, FRAME_HEIGHT, FRAME_WIDTH) as renderer:
        for t, qpos in enumerate(trajectory.qpos):
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            for name in names:
                renderer.update_scene(data, name)
                renderer.render(out=frames[name][t])
                poses[name][t, :3, :3] = data.camera(name).xmat.reshape(3, 3)
                poses[name][t, :3, 3] = data.camera(name).xpos
    return Footage(frames, {name: _make_view(model, name, poses[name]) for name in names})


def load_model(scene: str) -> mujoco.MjModel:
    """Compile MJCF text made by scene.make_scene_xml."""
    return mujoco.MjModel.from_xml_string(scene, {WOOD_FILE: wood_png()})


def _make_view(model: mujoco.MjModel, name: str, cam2world_gl: np.ndarray) -> CameraView:
    """Matrices of one camera from its poses (T, 4, 4) in OpenGL's axes: x right, y up, z backwards."""
    focal = FRAME_HEIGHT / 2 / np.tan(np.deg2rad(model.camera(name).fovy[0]) / 2)
    intrinsic = np.array([[focal, 0, FRAME_WIDTH / 2], [0, focal, FRAME_HEIGHT / 2], [0, 0, 1]])
    cam2world_cv = cam2world_gl @ np.diag([1.0, -1.0, -1.0, 1.0])
    return CameraView(intrinsic, np.linalg.inv(cam2world_cv)[:, :3], cam2world_gl)


def _measure_endposes(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    data = mujoco.MjData(model)
    arms = [find_arm(model, side) for side in SIDES]
    endposes = np.zeros((len(qpos), len(arms), 7))
    for t, positions in enumerate(qpos):
        data.qpos[:] = positions
        mujoco.mj_kinematics(model, data)
        for i, arm in enumerate(arms):
            endposes[t, i, :3] = data.site_xpos[arm.tool]
            mujoco.mju_mat2Quat(endposes[t, i, 3:], data.site_xmat[arm.tool])
    return endposes
