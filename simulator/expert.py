"""The operator drives both arms through waypoints and notes a snapshot of the scene at every saved instant."""

from collections.abc import Mapping

import numpy as np

from simulator.engine import mujoco
from simulator.kinematics import (
    InverseKinematics,
    Pose,
    find_arm,
    read_tool_pose,
    rotation_matrix,
    rotation_vector,
)
from simulator.robot import FINGER_OPEN, HOME, SIDES
from simulator.scene import TIMESTEP

PHYSICS_RATE = 250  # Hz, RoboTwin's; `save_freq` counts steps of it whatever our own time step is
STEPS_PER_TICK = 10  # a new joint target every 20 ms, reached by a straight line in between
SETTLE_STEPS = 100  # objects come to rest before the first frame
SPEED, TURN_SPEED = 0.22, 1.3  # metres and radians per second, on average over a movement
SHORTEST_MOVE = 0.25  # seconds
REACH_TOLERANCE = 0.005  # metres between where a path leads and what the joints can do


class OutOfReachError(RuntimeError):
    """A path leads where the arm cannot go; the attempt has failed."""


class Operator:
    """Moves arms and grippers; `snapshots` grow by (qpos, joint targets (14,)) every `save_freq` / 250 seconds.

    `watched` are two geoms; `touches` counts the control ticks in which they were in contact.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, save_freq: int, watched: tuple[str, str] | None = None
    ) -> None:
        self.model = model
        self.data = data
        self.arms = {side: find_arm(model, side) for side in SIDES}
        self.angles = {side: np.array(HOME) for side in SIDES}
        self.openings = dict.fromkeys(SIDES, FINGER_OPEN)
        self.poses: dict[str, Pose] = {}
        self.snapshots: list[tuple[np.ndarray, np.ndarray]] = []
        self.touches = 0
        self._watched = sorted(model.geom(name).id for name in watched) if watched else None
        self._steps_per_frame = round(save_freq / PHYSICS_RATE / TIMESTEP)
        self._steps = 0
        self._kinematics = InverseKinematics(model)

    def settle(self) -> None:
        """Put the arms into their home pose, let the objects come to rest, note frame 0."""
        for side, arm in self.arms.items():
            self.data.qpos[arm.qpos] = self.angles[side]
            self.data.qpos[arm.finger_qpos] = self.openings[side]
            self.data.ctrl[arm.servos] = self.angles[side]
            self.data.ctrl[arm.finger_servos] = self.openings[side]
        mujoco.mj_step(self.model, self.data, SETTLE_STEPS)
        mujoco.mj_forward(self.model, self.data)
        self.poses = {side: read_tool_pose(self.data, arm) for side, arm in self.arms.items()}
        self._note_snapshot()

    def move(self, goals: Mapping[str, Pose], speed: float = SPEED) -> None:
        """Lead the tools of the named sides to their goals on straight lines, with minimum jerk, together."""
        starts = {side: self.poses[side] for side in goals}
        turns = {side: rotation_vector(goal.rotation @ starts[side].rotation.T) for side, goal in goals.items()}
        duration = SHORTEST_MOVE
        for side, goal in goals.items():
            length = float(np.linalg.norm(goal.position - starts[side].position))
            angle = float(np.linalg.norm(turns[side]))
            duration = max(duration, 1.5 * length / speed, 1.5 * angle / TURN_SPEED)

        for share in _minimum_jerk(_num_ticks(duration)):
            for side, goal in goals.items():
                start = starts[side]
                between = Pose(
                    start.position + share * (goal.position - start.position),
                    rotation_matrix(share * turns[side]) @ start.rotation,
                )
                self._aim(side, between)
            self._tick()

    def grip(self, openings: Mapping[str, float], duration: float = 0.6) -> None:
        """Bring the fingers of the named sides to an opening in metres; they arrive after 70% of `duration` seconds."""
        starts = dict(self.openings)
        num_ticks = _num_ticks(duration)
        for tick in range(1, num_ticks + 1):
            share = min(1.0, tick / num_ticks / 0.7)
            for side, opening in openings.items():
                self.openings[side] = starts[side] + share * (opening - starts[side])
            self._tick()

    def wait(self, duration: float) -> None:
        """Stand still for `duration` seconds."""
        self.grip({}, duration)

    def tool_pose(self, side: str) -> Pose:
        """Where the tool really is, which lags the target by a millimetre or so."""
        return read_tool_pose(self.data, self.arms[side])

    def _aim(self, side: str, goal: Pose) -> None:
        angles, distance = self._kinematics.solve(self.arms[side], self.angles[side], goal)
        if distance > REACH_TOLERANCE:
            raise OutOfReachError(f"the {side} arm stays {1000 * distance:.0f} mm short of its path")
        self.angles[side] = angles
        self.poses[side] = goal

    def _tick(self) -> None:
        before = self.data.ctrl.copy()
        after = before.copy()
        for side, arm in self.arms.items():
            after[arm.servos] = self.angles[side]
            after[arm.finger_servos] = self.openings[side]

        for step in range(1, STEPS_PER_TICK + 1):
            self.data.ctrl[:] = before + (after - before) * (step / STEPS_PER_TICK)
            mujoco.mj_step(self.model, self.data)
            self._steps += 1
            if self._steps % self._steps_per_frame == 0:
                self._note_snapshot()
        self.touches += self._in_contact()

    def _note_snapshot(self) -> None:
        parts = []
        for arm in self.arms.values():
            parts += [self.data.ctrl[arm.servos], self.data.ctrl[arm.finger_servos[:1]]]
        self.snapshots.append((self.data.qpos.copy(), np.concatenate(parts)))

    def _in_contact(self) -> bool:
        if self._watched is None:
            return False
        pairs = np.sort(self.data.contact.geom, axis=1)
        return bool(np.any(np.all(pairs == self._watched, axis=1)))


def _num_ticks(duration: float) -> int:
    return int(np.ceil(duration / (STEPS_PER_TICK * TIMESTEP)))


def _minimum_jerk(num_ticks: int) -> np.ndarray:
    """Shares of the way in (0, 1] whose first and second derivatives vanish at both ends."""
    t = np.arange(1, num_ticks + 1) / num_ticks
    return t**3 * (10 - 15 * t + 6 * t**2)
