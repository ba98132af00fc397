"""The expert: a script for each task, and the operator that drives both arms through its waypoints.

The expert acts on the world as a policy does, by targets; whether it succeeded, the world alone decides. After RoboTwin
1.0's tasks (MIT); the waypoints are ours.
"""

from collections.abc import Callable, Mapping

import numpy as np

from simulator.kinematics import (
    InverseKinematics,
    Pose,
    look_along,
    look_down,
    read_tool_pose,
    rotation_matrix,
    rotation_vector,
    wrap_angle,
)
from simulator.robot import BASE_X, BASE_Y, FINGER_CLOSED, FINGER_OPEN, FINGERTIP_REACH, HOME, NUM_JOINTS, SIDES
from simulator.tasks import (
    BAR_HALF,
    BAR_YAW,
    CUBE,
    CUBE_HEIGHT,
    HAMMER_GRASP,
    HAMMER_HEAD,
    HAMMER_HEAD_HALF,
    PAD_CENTRE,
    PAD_TOP,
    STACK_CENTRE,
    side_of,
)
from simulator.world import World

TICK = 0.02  # seconds from one joint target to the next, reached by a straight line
SPEED, TURN_SPEED = 0.22, 1.3  # metres and radians per second, on average over a movement
SHORTEST_MOVE = 0.25  # seconds
REACH_TOLERANCE = 0.005  # metres between where a path leads and what the joints can do
STRIKE_DEPTH = 0.004  # metres that the strike aims below first contact; 2 mm above it and nothing touches
NOISE_TICKS = 8  # from one goal of the operator's noise to the next, 0.16 s


class OutOfReachError(RuntimeError):
    """A path leads where the arm cannot go; the attempt has failed."""


class Tremor:
    """Noise of an operator's hand: each of the 12 joints wanders between goals drawn from N(0, sigma) every 0.16 s.

    DART (arXiv 1703.09327): what is executed is disturbed, what is written down as the label is not.
    """

    def __init__(self, sigma: float, rng: np.random.Generator) -> None:
        self.sigma = sigma
        self._rng = rng
        self._tick = 0
        self._start = self._goal = np.zeros(len(SIDES) * (NUM_JOINTS + 1))

    def next(self) -> np.ndarray:
        """What to add to the next targets, (14,) radians; nothing to the fingers."""
        phase = self._tick % NOISE_TICKS
        if phase == 0:
            self._start, self._goal = self._goal, self._rng.normal(0.0, self.sigma, self._goal.shape)
            self._goal[NUM_JOINTS :: NUM_JOINTS + 1] = 0.0
        self._tick += 1
        return self._start + (self._goal - self._start) * ((phase + 1) / NOISE_TICKS)


class Operator:
    """Moves arms and grippers of a world that was reset, one target every 20 ms.

    `labels` are the targets as the expert planned them, on the same straight lines as the command; without a tremor the
    two are equal to the last bit.
    """

    def __init__(self, world: World, tremor: Tremor | None = None) -> None:
        self.world = world
        self.data = world.data
        self.angles = {side: np.array(HOME) for side in SIDES}
        self.openings = dict.fromkeys(SIDES, FINGER_OPEN)
        self.poses = {side: read_tool_pose(world.data, arm) for side, arm in world.arms.items()}
        self._tremor = tremor
        self._kinematics = InverseKinematics(world.model)
        self._before = self._after = world.state().target

    def label(self, share: float) -> np.ndarray:
        """The expert's own target (14,) when `share` of the present tick has passed."""
        return self._before + (self._after - self._before) * share

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
        return read_tool_pose(self.data, self.world.arms[side])

    def _aim(self, side: str, goal: Pose) -> None:
        angles, distance = self._kinematics.solve(self.world.arms[side], self.angles[side], goal)
        if distance > REACH_TOLERANCE:
            raise OutOfReachError(f"the {side} arm stays {1000 * distance:.0f} mm short of its path")
        self.angles[side] = angles
        self.poses[side] = goal

    def _tick(self) -> None:
        self._before = self.label(1.0)
        self._after = np.concatenate([[*self.angles[side], self.openings[side]] for side in SIDES])
        executed = self._after if self._tremor is None else self._after + self._tremor.next()
        self.world.step(executed, TICK)


def beat_block(operator: Operator) -> None:
    """The arm on the block's side grasps the hammer and strikes the block twice."""
    data = operator.data
    hammer, block = data.body("hammer"), data.body("block")
    side = side_of(block.xpos[0])
    grasp = Pose(
        hammer.xpos + hammer.xmat.reshape(3, 3) @ HAMMER_GRASP + [0, 0, FINGERTIP_REACH],
        look_down(wrap_angle(_yaw(hammer), np.pi)),
    )
    operator.move({side: grasp.shifted(z=0.09)})
    operator.move({side: grasp}, speed=0.15)
    operator.grip({side: FINGER_CLOSED})
    operator.move({side: grasp.shifted(z=0.09)}, speed=0.2)

    away = block.xpos[:2] - [BASE_X[side], BASE_Y]
    swing = look_down(np.arctan2(away[1], away[0]) - np.pi / 2)
    head_in_tool = _in_tool(operator, side, hammer.xpos + hammer.xmat.reshape(3, 3) @ HAMMER_HEAD)
    contact = block.xpos + [0, 0, CUBE + HAMMER_HEAD_HALF]
    strike = Pose(contact - swing @ head_in_tool, swing)
    operator.move({side: strike.shifted(z=0.10)})
    operator.move({side: strike.shifted(z=-STRIKE_DEPTH)}, speed=0.55)
    operator.move({side: strike.shifted(z=0.075)}, speed=0.3)
    operator.move({side: strike.shifted(z=-STRIKE_DEPTH)}, speed=0.55)
    operator.wait(0.3)


def hand_over(operator: Operator) -> None:
    """The left arm lifts the bar, the right arm takes it in mid-air and stands it on the pad."""
    bar = operator.data.body("block")
    left_home = operator.poses["left"]
    towards, leftwards, rightwards = look_along(BAR_YAW), look_along(np.pi), look_along(0.0)
    grasp = Pose(bar.xpos - towards[:, 0] * FINGERTIP_REACH + [0, 0, 0.05], towards)
    back = -0.09 * towards[:, 0]
    operator.move({"left": grasp.shifted(*back)})
    operator.move({"left": grasp}, speed=0.2)
    operator.grip({"left": FINGER_CLOSED})
    operator.move({"left": grasp.shifted(z=0.08)})

    giving = Pose(np.array([-0.15, -0.12, 0.97]), rightwards)
    waiting = Pose(np.array([0.25, -0.12, 0.87]), leftwards)
    operator.move({"left": giving, "right": waiting})
    taking = Pose(bar.xpos + [FINGERTIP_REACH, 0, -0.045], leftwards)
    operator.move({"right": taking}, speed=0.2)
    operator.grip({"right": FINGER_CLOSED})
    operator.grip({"left": FINGER_OPEN})
    operator.move({"left": giving.shifted(x=-0.12), "right": taking.shifted(x=0.05)})

    forwards = look_along(np.pi / 2)
    standing = np.array([*PAD_CENTRE, PAD_TOP + BAR_HALF[2] + 0.0025])
    release = Pose(standing - forwards @ _in_tool(operator, "right", bar.xpos), forwards)
    operator.move({"right": release.shifted(z=0.06), "left": left_home})
    operator.move({"right": release}, speed=0.15)
    operator.grip({"right": FINGER_OPEN})
    operator.move({"right": release.shifted(y=-0.12, z=0.06)})


def stack_blocks(operator: Operator) -> None:
    """Each block is taken by the arm on its side: the red one to the middle, the black one on top."""
    data = operator.data
    home = dict(operator.poses)
    upright = look_down(0.0)
    last = None
    for level, name in enumerate(("block1", "block2")):
        block = data.body(name)
        side = side_of(block.xpos[0])
        grasp = Pose(block.xpos + [0, 0, FINGERTIP_REACH], look_down(wrap_angle(_yaw(block), np.pi / 2)))
        goals = {side: grasp.shifted(z=0.06)}
        if last not in (None, side):
            goals[last] = home[last]
        operator.move(goals)
        operator.move({side: grasp}, speed=0.2)
        operator.grip({side: FINGER_CLOSED})
        operator.move({side: grasp.shifted(z=0.08)})

        below = data.body("block1").xpos + [0, 0, 2 * CUBE]
        goal = below if level else np.array([*STACK_CENTRE, CUBE_HEIGHT])
        release = Pose(goal + [0, 0, 0.001] - upright @ _in_tool(operator, side, block.xpos), upright)
        operator.move({side: release.shifted(z=0.06)})
        operator.move({side: release}, speed=0.15)
        operator.grip({side: FINGER_OPEN})
        operator.move({side: release.shifted(z=0.08)})
        last = side
    operator.move({last: home[last]})


def _yaw(body: object) -> float:
    return float(np.arctan2(body.xmat[3], body.xmat[0]))


def _in_tool(operator: Operator, side: str, point: np.ndarray) -> np.ndarray:
    """A point of the world, (3,) in metres, as the gripper holds it now."""
    tool = operator.tool_pose(side)
    return tool.rotation.T @ (point - tool.position)


SCRIPTS: dict[str, Callable[[Operator], None]] = {
    "block_hammer_beat": beat_block,
    "block_handover": hand_over,
    "blocks_stack_easy": stack_blocks,
}


def _num_ticks(duration: float) -> int:
    return int(np.ceil(duration / TICK))


def _minimum_jerk(num_ticks: int) -> np.ndarray:
    """Shares of the way in (0, 1] whose first and second derivatives vanish at both ends."""
    t = np.arange(1, num_ticks + 1) / num_ticks
    return t**3 * (10 - 15 * t + 6 * t**2)
