"""The world that the expert and policies act in: reset, step, observe, state, succeeded.

    world = World()
    world.reset("block_hammer_beat", seed=100_000_000)
    while world.seconds < 15 and not world.succeeded():
        frames = world.observe(("head",), size=128)
        world.step(targets, period=0.06)

A seed fixes the scene and a sequence of targets fixes what happens, to the last bit, on one machine and one version of
MuJoCo. Nothing is drawn, and no OpenGL is opened, before `observe` is called.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from commands.errors import UserError
from simulator.engine import load_model, mujoco
from simulator.kinematics import find_arm, measure_state, read_opening
from simulator.robot import FINGER_OPEN, HOME, SIDES, STATE_SIZE
from simulator.scene import TIMESTEP, make_scene_xml, sample_look
from simulator.studio import Studio, check_cameras, shrink
from simulator.tasks import LIFT, Task, find_task

SETTLE_STEPS = 100  # objects come to rest before the first frame
HOLD_SECONDS = 1.0  # a success has to last so long to be called held
TOUCH_DISTANCE = 0.15  # metres between the centres of two geoms: farther apart they cannot touch, and are not asked
ROUNDING = 1e-9  # radians or metres beyond a limit that are no fault of the caller
PARTS_EVERY = 10  # physics steps, 20 ms, between two looks at what is grasped and lifted


@dataclass(frozen=True)
class RobotState:
    """Command and measurement; they differ by the servos' lag, by friction, and where a hand is blocked."""

    measured: np.ndarray  # (14,) joint angles in radians and mean finger openings in metres: left, then right
    target: np.ndarray  # (14,) the command in force


@dataclass(frozen=True)
class Success:
    """Progress of the task; true if it was done at some moment.

    Parts, each the greatest so far in [0, 1]: grasped and lifted (share of the objects to be carried), touched (hammer
    and block, bar and pad, block and block), placed (the goal's geometry, the hands apart).
    """

    first: float | None  # seconds after reset at which the task was done; None where that has not happened
    now: bool
    held: bool | None  # whether it still was, HOLD_SECONDS later; None where that moment has not come
    parts: dict[str, float]

    def __bool__(self) -> bool:
        return self.first is not None


class World:
    """Two arms at a table and one task. Numbers are (14,): left 6 joints + gripper, right 6 joints + gripper."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.after_physics: Callable[[int, int], None] | None = None  # (k, n): after step k of n of a command

    def reset(self, task: str, seed: int, look: str = "train") -> None:
        """Build the scene of a seed, let the objects come to rest; both arms stand at home with open hands.

        Args:
            task: one of tasks.TASKS.
            seed: decides where objects stand, and light and tints; 0 or more.
            look: of scene.LOOKS: "train", "dark", "bright", or "unseen" for light and tints outside of their ranges.
        """
        found = find_task(task)
        if seed < 0:
            raise UserError(f"the seed is {seed}, wanted 0 or more.")
        self.close()
        self.task = found
        rng = np.random.default_rng(seed)
        objects = self.task.place_objects(rng)
        self.scene = make_scene_xml(objects, sample_look(rng, look))
        self.model = load_model(self.scene)
        self.data = mujoco.MjData(self.model)
        self.arms = {side: find_arm(self.model, side) for side in SIDES}
        self._studio = Studio(self.model)
        self._find_objects()
        self._settle()

    def step(self, targets: np.ndarray, period: float) -> None:
        """Lead the command on a straight line from the one in force to `targets`, over the whole period.

        Args:
            targets: (14,) radians and metres; clipped to the joints' limits, and `num_clipped` counts such commands.
            period: seconds, a whole number of physics steps of 2 ms.
        """
        num_steps = _count_steps(period)
        self._drive(self._check(targets), num_steps)

    def hold(self, seconds: float) -> None:
        """Stand still: keep the command in force."""
        self._drive(self.state().target, round(seconds / TIMESTEP))

    def observe(self, cameras: Sequence[str] = ("head",), size: int | None = None) -> dict[str, np.ndarray]:
        """What cameras see now, uint8 RGB by camera: (240, 320, 3), or squeezed into (size, size, 3).

        Frames are always drawn at 320 x 240 and then shrunk as the training data are.
        """
        self._require_reset()
        check_cameras(tuple(cameras))
        self._studio.arrange(self.data.qpos)
        frames = {camera: self._studio.draw(camera) for camera in cameras}
        return frames if size is None else {camera: shrink(frame, size) for camera, frame in frames.items()}

    def state(self) -> RobotState:
        """Measured joints, and the command in force."""
        self._require_reset()
        return RobotState(measure_state(self.arms, self.data.qpos), self.data.ctrl[self._servos_by_column].copy())

    def object_poses(self) -> np.ndarray:
        """(objects, 7): x, y, z in metres and quaternion w, x, y, z of `task.objects`."""
        self._require_reset()
        return self.data.qpos[self.object_qpos].copy()

    @property
    def seconds(self) -> float:
        """Time since the reset."""
        return self.num_steps * TIMESTEP

    def succeeded(self) -> Success:
        """Whether the task was done at some moment, is now, and lasted; evaluated at every physics step."""
        self._require_reset()
        return Success(self._first, self.task.succeeded(self), self._held, dict(self._parts))

    def close(self) -> None:
        """Give OpenGL's memory back."""
        if self.task is not None:
            self._studio.close()

    def __getstate__(self) -> dict:
        """Only a world that was not reset can be pickled; reset it in the other process."""
        if self.task is not None:
            raise TypeError("a world that was reset cannot be pickled: make a new one in the other process")
        return {"task": None, "after_physics": None}

    def centre(self, geom: str) -> np.ndarray:
        """Centre of a geom, (3,) metres; a view that changes with the next step."""
        return self.data.geom_xpos[self._geoms[geom]]

    def upright(self, geom: str) -> float:
        """Cosine between a geom's own z axis and the vertical."""
        return float(self.data.geom_xmat[self._geoms[geom], 8])

    def opening(self, side: str) -> float:
        """How far the fingers of a hand are out, in metres: the mean of the two."""
        return read_opening(self.data, self.arms[side])

    def _require_reset(self) -> None:
        if self.task is None:
            raise UserError("the world has no scene yet: call reset(task, seed) first.")

    def _check(self, targets: np.ndarray) -> np.ndarray:
        self._require_reset()
        targets = np.asarray(targets, np.float64)
        if targets.shape != (STATE_SIZE,):
            raise UserError(
                f"an action has the shape {targets.shape}, wanted ({STATE_SIZE},): left 6 joints + gripper, then right."
            )
        if not np.isfinite(targets).all():
            raise UserError(f"an action is not finite in place {int(np.argmin(np.isfinite(targets)))}: {targets}.")
        clipped = np.clip(targets, *read_limits())
        self.num_clipped += bool(np.any(np.abs(clipped - targets) > ROUNDING))
        return clipped

    def _drive(self, wanted: np.ndarray, num_steps: int) -> None:
        before = self.data.ctrl.copy()
        after = before.copy()
        after[self._servos] = wanted[self._columns]
        for step in range(1, num_steps + 1):
            self.data.ctrl[:] = before + (after - before) * (step / num_steps)
            mujoco.mj_step(self.model, self.data)
            self.num_steps += 1
            self._watch()
            if self.after_physics is not None:
                self.after_physics(step, num_steps)

    def _find_objects(self) -> None:
        model, task = self.model, self.task
        self._geoms = {model.geom(i).name: i for i in range(model.ngeom) if model.geom(i).name}
        starts = [model.jnt_qposadr[model.body(name).jntadr[0]] for name in task.objects]
        self.object_qpos = np.array(starts)[:, None] + np.arange(7)
        self._carried = [model.body(name).id for name in task.carried]
        self._pads = {side: [self._geoms[f"{side}_pad_{letter}"] for letter in "ab"] for side in SIDES}
        self._watched = sorted(self._geoms[name] for name in task.watched)
        arms = list(self.arms.values())
        self._servos = np.concatenate([[*arm.servos, *arm.finger_servos] for arm in arms])
        self._columns = np.concatenate([[*range(7 * i, 7 * i + 7), 7 * i + 6] for i in range(len(arms))])
        self._servos_by_column = np.concatenate([[*arm.servos, arm.finger_servos[0]] for arm in arms])

    def _settle(self) -> None:
        for arm in self.arms.values():
            for positions, servos, value in (
                (arm.qpos, arm.servos, HOME),
                (arm.finger_qpos, arm.finger_servos, FINGER_OPEN),
            ):
                self.data.qpos[positions] = value
                self.data.ctrl[servos] = value
        mujoco.mj_step(self.model, self.data, SETTLE_STEPS)
        mujoco.mj_forward(self.model, self.data)
        self.touched = False
        self.num_clipped = 0
        self.num_steps = 0
        self._first: float | None = None
        self._held: bool | None = None
        self._parts = dict.fromkeys(("grasped", "lifted", "touched", "placed"), 0.0)
        self._heights = self.data.xpos[self._carried, 2] + LIFT
        self._was_grasped, self._was_lifted = (np.zeros(len(self._carried), bool) for _ in range(2))

    def _watch(self) -> None:
        """Update the success after a physics step."""
        if not self.touched:
            self.touched = self._is_touching()
        if self._first is None and self.task.succeeded(self):
            self._first = self.seconds
        elif self._first is not None and self._held is None and self.seconds >= self._first + HOLD_SECONDS - 1e-9:
            self._held = self.task.kept(self)
        if self.num_steps % PARTS_EVERY == 0:
            self._note_parts()

    def _is_touching(self) -> bool:
        first, second = self.data.geom_xpos[self._watched]
        if np.abs(first - second).max() > TOUCH_DISTANCE:
            return False
        pairs = np.sort(self.data.contact.geom, axis=1)
        return bool(np.any(np.all(pairs == self._watched, axis=1)))

    def _note_parts(self) -> None:
        if not self._was_grasped.all():
            self._was_grasped |= [self._is_grasped(body) for body in self._carried]
        self._was_lifted |= self._was_grasped & (self.data.xpos[self._carried, 2] > self._heights)
        placed = float(self._parts["placed"] or self.task.placed(self))
        self._parts = {
            "grasped": float(self._was_grasped.mean()),
            "lifted": float(self._was_lifted.mean()),
            "touched": float(self.touched),
            "placed": placed,
        }

    def _is_grasped(self, body: int) -> bool:
        """Both pads of one hand touch the body."""
        geoms = self.data.contact.geom
        mine = geoms[np.any(self.model.geom_bodyid[geoms] == body, axis=1)]
        return any(all(pad in mine for pad in pads) for pads in self._pads.values())


def _count_steps(period: float) -> int:
    num_steps = round(period / TIMESTEP)
    if num_steps < 1 or abs(num_steps * TIMESTEP - period) > 1e-6:
        raise UserError(f"the control period is {period} s, wanted a whole number of physics steps of {TIMESTEP} s.")
    return num_steps


@cache
def read_limits() -> np.ndarray:
    """Least and greatest command, (2, 14), as the MJCF has them; the same in every scene."""
    model = load_model(make_scene_xml("", sample_look(np.random.default_rng(0))))
    names = [f"{side}_{servo}" for side in SIDES for servo in (*(f"servo{i}" for i in range(1, 7)), "grip_a")]
    return np.array([model.actuator(name).ctrlrange for name in names]).T
