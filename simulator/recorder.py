"""One episode in two passes: simulate and keep the state of every frame, then draw the frames if it succeeded.

A rejected attempt costs no rendering.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from simulator.engine import load_model, mujoco
from simulator.expert import SCRIPTS, Operator, OutOfReachError, Tremor
from simulator.kinematics import find_arm, measure_state
from simulator.robot import SIDES
from simulator.scene import CAMERAS, FRAME_HEIGHT, FRAME_WIDTH, TIMESTEP
from simulator.studio import Studio, check_cameras
from simulator.world import HOLD_SECONDS, World

PHYSICS_RATE = 250  # Hz, RoboTwin's; `save_freq` counts steps of it whatever our own time step is


@dataclass(frozen=True)
class CameraView:
    """Where a camera was, in RoboTwin's three matrices."""

    intrinsic: np.ndarray  # (3, 3) pixels
    extrinsic: np.ndarray  # (T, 3, 4) world to camera; x right, y down, z forward
    cam2world_gl: np.ndarray  # (T, 4, 4) camera to world; x right, y up, z backwards


@dataclass(frozen=True)
class Trajectory:
    """States of one attempt: enough to draw every frame again, and to learn from."""

    scene: str  # MJCF
    success: bool  # done at some moment, and still a second later
    qpos: np.ndarray  # (T, nq): everything's position at frame t, `save_freq` / 250 seconds apart
    states: np.ndarray  # (T, 14) targets of the expert: left 6 + gripper, right 6 + gripper
    executed: np.ndarray  # (T, 14) targets in force: those of the expert with the operator's noise
    measured: np.ndarray  # (T, 14) joint angles and finger openings
    objects: dict[str, np.ndarray]  # (T, 7) by name: x, y, z, quaternion w, x, y, z
    endposes: np.ndarray  # (T, 2, 7) left and right tool: x, y, z, quaternion w, x, y, z


@dataclass(frozen=True)
class Footage:
    """Frames and poses of the cameras, by RoboTwin's names."""

    frames: dict[str, np.ndarray]  # uint8 (T, 240, 320, 3) RGB
    views: dict[str, CameraView]


def simulate(
    task_name: str, seed: int, save_freq: int, *, noise: float = 0.0, draw: int = 0, look: str = "train"
) -> Trajectory:
    """Play one attempt. Seed and look decide objects and light; physics does not depend on `save_freq` and look.

    Args:
        task_name: one of tasks.TASKS.
        seed: of the scene.
        save_freq: steps of 1/250 s from frame to frame.
        noise: of the operator's hand, standard deviation in radians of every joint's executed target.
        draw: which noise: another number, another tremor in the same scene.
        look: light and tints, see World.reset.
    """
    world = World()
    world.reset(task_name, seed, look)
    tremor = Tremor(noise, np.random.default_rng((seed, draw))) if noise else None
    operator = Operator(world, tremor)
    every = round(save_freq / PHYSICS_RATE / TIMESTEP)
    qpos, labels, executed = [world.data.qpos.copy()], [operator.label(1.0)], [world.state().target]

    def note(step: int, num_steps: int) -> None:
        if world.num_steps % every == 0:
            qpos.append(world.data.qpos.copy())
            labels.append(operator.label(step / num_steps))
            executed.append(world.state().target)

    world.after_physics = note
    try:
        SCRIPTS[task_name](operator)
    except OutOfReachError:
        success = False
    else:
        world.after_physics = None  # the last second is lived through, not recorded
        success = finish(world)
    positions = np.stack(qpos)
    poses = positions[:, world.object_qpos]
    return Trajectory(
        scene=world.scene,
        success=success,
        qpos=positions,
        states=np.stack(labels),
        executed=np.stack(executed),
        measured=measure_state(world.arms, positions),
        objects={name: poses[:, i] for i, name in enumerate(world.task.objects)},
        endposes=_measure_endposes(world.model, positions),
    )


def finish(world: World) -> bool:
    """Hold the last command until it is known whether the success lasts."""
    result = world.succeeded()
    if result.first is not None and result.held is None:
        world.hold(result.first + HOLD_SECONDS - world.seconds)
    return bool(world.succeeded().held)


def render(trajectory: Trajectory, cameras: Sequence[str], draw_every: int = 1) -> Footage:
    """Draw the frames of the cameras, named as in scene.CAMERAS.

    Args:
        trajectory: what happened.
        cameras: who sees it.
        draw_every: frames 0, k, 2 k, ... are drawn, those between repeat the last one: a policy learns from more
            scenes in the same time, since drawing is nearly all the work.
    """
    check_cameras(tuple(cameras))
    num_frames = len(trajectory.qpos)
    frames = {camera: np.empty((num_frames, FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8) for camera in cameras}
    poses = {camera: np.empty((num_frames, 4, 4)) for camera in cameras}
    model = load_model(trajectory.scene)
    with closing(Studio(model)) as studio:
        for t, qpos in enumerate(trajectory.qpos):
            studio.arrange(qpos)
            for camera in cameras:
                frames[camera][t] = frames[camera][t - t % draw_every] if t % draw_every else studio.draw(camera)
                poses[camera][t] = studio.camera_pose(camera)
    return Footage(
        {CAMERAS[camera]: frames[camera] for camera in cameras},
        {CAMERAS[camera]: _make_view(model, CAMERAS[camera], poses[camera]) for camera in cameras},
    )


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
