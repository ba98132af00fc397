"""The three tasks: where their objects stand, what the arms do, and when it counts as done.

Objects, ranges and goals after RoboTwin 1.0 (MIT); the scripts and the thresholds of success are ours, in the spirit
of its `check_success`. The hammer must besides have touched the block: by geometry alone a strike that
stops 2 mm above it passes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.expert import Operator
from simulator.kinematics import Pose, look_along, look_down, wrap_angle
from simulator.robot import BASE_X, BASE_Y, FINGER_CLOSED, FINGER_OPEN, FINGERTIP_REACH
from simulator.scene import TABLE_TOP, make_box_xml, make_object_xml

CUBE = 0.025  # metres: half the edge of a block
CUBE_HEIGHT = TABLE_TOP + CUBE

HAMMER_HEAD = np.array([0.0, 0.09, 0.0])  # metres, in the hammer's frame; its handle lies along y
HAMMER_GRASP = np.array([0.0, -0.005, 0.0])
HAMMER_HEAD_HALF = 0.034
STRIKE_DEPTH = 0.004  # metres that the strike aims below first contact; 2 mm above it and nothing touches
STRIKE_REACH = 0.52  # metres from the shoulder's axis to the block: farther, the raised hammer is out of reach

BAR_HALF = (0.03, 0.03, 0.1)
BAR_YAW = np.deg2rad(50.0)
PAD_CENTRE = np.array([0.23, 0.09])  # RoboTwin's fixed goal
PAD_TOP = TABLE_TOP + 0.01

GRASP_REACH = 0.50  # metres from the shoulder's axis to a block that a gripper comes down upon
STACK_CENTRE = np.array([0.0, -0.1])


@dataclass(frozen=True)
class Task:
    """A task by its RoboTwin 1.0 name."""

    name: str
    place_objects: Callable[[np.random.Generator], str]  # MJCF text of the objects
    script: Callable[[Operator], bool]  # plays the episode; True where the goal was reached
    instructions: tuple[str, ...]
    unseen_instructions: tuple[str, ...]  # kept for testing, as RoboTwin 2.0 does
    watched: tuple[str, str] | None = None  # two geoms that must touch


def place_hammer_and_block(rng: np.random.Generator) -> str:
    """A hammer in the middle with its head away from the robot, and a red block within a hammer's reach."""
    while True:
        x, y = rng.uniform(-0.25, 0.25), rng.uniform(-0.05, 0.15)
        if abs(x) > 0.07 and _shoulder_distance(x, y) < STRIKE_REACH:
            break
    hammer = (
        '<geom class="object" type="box" size=".010 .075 .010" material="handle" mass=".05"/>'
        f'<geom class="object" name="hammer_head" type="cylinder" size=".019 {HAMMER_HEAD_HALF}" pos="0 .09 0"'
        ' material="steel" mass=".06"/>'
        '<geom class="object" type="box" size=".012 .03 .034" pos="0 -.07 0" material="dark" mass=".03"/>'
    )
    block = make_box_xml("block", (CUBE, CUBE, CUBE), "red", 0.08)
    return make_object_xml("hammer", np.array([0.0, -0.10, 0.776]), rng.uniform(-0.25, 0.25), hammer) + make_object_xml(
        "block", np.array([x, y, CUBE_HEIGHT]), rng.uniform(-1.0, 1.0), block
    )


def beat_block(operator: Operator) -> bool:
    """The arm on the block's side grasps the hammer and strikes the block twice."""
    data = operator.data
    hammer, block = data.body("hammer"), data.body("block")
    side = _side_of(block.xpos[0])
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

    head = hammer.xpos + hammer.xmat.reshape(3, 3) @ HAMMER_HEAD
    aside = np.abs(head[:2] - block.xpos[:2]).max()
    above = head[2] - block.xpos[2]
    return bool(operator.touches > 0 and aside < 0.02 and above < CUBE + HAMMER_HEAD_HALF + 0.009)


def place_bar(rng: np.random.Generator) -> str:
    """A red upright bar on the left, a blue pad fixed on the right."""
    position = np.array([rng.uniform(-0.25, -0.05), rng.uniform(0.0, 0.2), TABLE_TOP + BAR_HALF[2] + 0.0005])
    pad = make_box_xml("pad", (0.05, 0.05, 0.005), "blue", 1.0)
    return make_object_xml("block", position, BAR_YAW, make_box_xml("block", BAR_HALF, "red", 0.1)) + make_object_xml(
        "target", np.array([*PAD_CENTRE, PAD_TOP - 0.005]), 0.0, pad, fixed=True
    )


def hand_over(operator: Operator) -> bool:
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
    return bool(np.abs(bar.xpos[:2] - PAD_CENTRE).max() < 0.02 and bar.xmat[8] > 0.99)


def place_two_blocks(rng: np.random.Generator) -> str:
    """A red and a black block at random, clear of the middle, of each other and of where the stack will stand."""
    places: list[np.ndarray] = []
    while len(places) < 2:
        place = np.array([rng.uniform(-0.25, 0.25), rng.uniform(-0.15, 0.05)])
        clear = all(np.linalg.norm(place - other) > 0.1 for other in places)
        clear = clear and _shoulder_distance(*place) < GRASP_REACH
        if clear and abs(place[0]) > 0.05 and np.linalg.norm(place - STACK_CENTRE) > 0.15:
            places.append(place)
    return "".join(
        make_object_xml(
            name,
            np.array([*place, CUBE_HEIGHT]),
            rng.uniform(0, np.pi / 2),
            make_box_xml(name, (CUBE, CUBE, CUBE), material, 0.04),
        )
        for name, material, place in zip(("block1", "block2"), ("red", "black"), places, strict=True)
    )


def stack_blocks(operator: Operator) -> bool:
    """Each block is taken by the arm on its side: the red one to the middle, the black one on top."""
    data = operator.data
    home = dict(operator.poses)
    upright = look_down(0.0)
    last = None
    for level, name in enumerate(("block1", "block2")):
        block = data.body(name)
        side = _side_of(block.xpos[0])
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

    red, black = data.body("block1").xpos, data.body("block2").xpos
    stacked = np.all(np.abs(black - red - [0, 0, 2 * CUBE]) < [0.02, 0.02, 0.005])
    return bool(stacked and np.abs(red[:2] - STACK_CENTRE).max() < 0.025)


def _side_of(x: float) -> str:
    return "right" if x > 0 else "left"


def _shoulder_distance(x: float, y: float) -> float:
    return float(np.hypot(x - BASE_X[_side_of(x)], y - BASE_Y))


def _yaw(body: object) -> float:
    return float(np.arctan2(body.xmat[3], body.xmat[0]))


def _in_tool(operator: Operator, side: str, point: np.ndarray) -> np.ndarray:
    """A point of the world, (3,) in metres, as the gripper holds it now."""
    tool = operator.tool_pose(side)
    return tool.rotation.T @ (point - tool.position)


_TASK_LIST = (
    Task(
        name="block_hammer_beat",
        place_objects=place_hammer_and_block,
        script=beat_block,
        instructions=(
            "beat the block with the hammer",
            "pick up the hammer and strike the red block",
            "grasp the hammer and hit the block",
            "use the hammer to beat the red block",
        ),
        unseen_instructions=("take the hammer and knock on the red cube", "hammer the block"),
        watched=("hammer_head", "block"),
    ),
    Task(
        name="block_handover",
        place_objects=place_bar,
        script=hand_over,
        instructions=(
            "hand over the block",
            "pass the red block from the left arm to the right arm and place it on the blue pad",
            "grasp the red block with the left arm, hand it to the right arm and set it on the blue target",
            "give the block to the other arm and put it on the pad",
        ),
        unseen_instructions=("transfer the red bar between the arms onto the blue square", "pass the block across"),
    ),
    Task(
        name="blocks_stack_easy",
        place_objects=place_two_blocks,
        script=stack_blocks,
        instructions=(
            "stack blocks",
            "place the black block on top of the red block at the center",
            "move the red block to the center and stack the black block on it",
            "put the black block on the red block",
        ),
        unseen_instructions=("build a tower with red below and black above", "pile up the two cubes"),
    ),
)
TASKS = {task.name: task for task in _TASK_LIST}
