"""The three tasks: where their objects stand, what they are called, and when they are done.

Objects, ranges and goals after RoboTwin 1.0 (MIT); the rule of success after RoboTwin 2.0's `check_success`, with our
thresholds: the geometry of the goal holds *and* the hands have let go; the hammer must have touched the block, since
by geometry alone a strike that stops 2 mm above it passes. The expert that solves the tasks is in expert.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from commands.errors import UserError
from simulator.robot import BASE_X, BASE_Y, FINGER_OPEN, SIDES
from simulator.scene import TABLE_TOP, make_box_xml, make_object_xml

CUBE = 0.025  # metres: half the edge of a block
CUBE_HEIGHT = TABLE_TOP + CUBE

HAMMER_HEAD = np.array([0.0, 0.09, 0.0])  # metres, in the hammer's frame; its handle lies along y
HAMMER_GRASP = np.array([0.0, -0.005, 0.0])
HAMMER_HEAD_HALF = 0.034
STRIKE_REACH = 0.52  # metres from the shoulder's axis to the block: farther, the raised hammer is out of reach

BAR_HALF = (0.03, 0.03, 0.1)
BAR_YAW = np.deg2rad(50.0)
PAD_CENTRE = np.array([0.23, 0.09])  # RoboTwin's fixed goal
PAD_TOP = TABLE_TOP + 0.01

GRASP_REACH = 0.50  # metres from the shoulder's axis to a block that a gripper comes down upon
STACK_CENTRE = np.array([0.0, -0.1])

OPEN = 0.8 * FINGER_OPEN  # metres: a hand has let go where both its fingers are farther out; RoboTwin 2.0's 0.8
LIFT = 0.03  # metres above where an object lay: then it has been lifted


class Scene(Protocol):
    """What a rule of success can read; implemented by the world, and by tests."""

    touched: bool  # whether the task's two watched geoms have been in contact

    def centre(self, geom: str) -> np.ndarray:
        """Centre of a geom, (3,) metres."""

    def upright(self, geom: str) -> float:
        """Cosine between a geom's own z axis and the vertical."""

    def opening(self, side: str) -> float:
        """How far the fingers of a hand are out, in metres: the mean of the two."""


@dataclass(frozen=True)
class Task:
    """A task by its RoboTwin 1.0 name. The rules look at the scene alone: the expert and a policy are judged alike."""

    name: str
    place_objects: Callable[[np.random.Generator], str]  # MJCF text of the objects
    objects: tuple[str, ...]  # bodies that can move
    carried: tuple[str, ...]  # those of them that a hand has to take
    watched: tuple[str, str]  # two geoms that touch in a success
    limit: int  # commands of 60 ms after which a policy has failed: twice the expert's
    placed: Callable[[Scene], bool]  # geometry of the goal
    succeeded: Callable[[Scene], bool]  # the goal, and what makes it count
    kept: Callable[[Scene], bool]  # what has to be true a second later still
    instructions: tuple[str, ...]
    unseen_instructions: tuple[str, ...]  # kept for testing, as RoboTwin 2.0 does


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


def place_bar(rng: np.random.Generator) -> str:
    """A red upright bar on the left, a blue pad fixed on the right."""
    position = np.array([rng.uniform(-0.25, -0.05), rng.uniform(0.0, 0.2), TABLE_TOP + BAR_HALF[2] + 0.0005])
    pad = make_box_xml("pad", (0.05, 0.05, 0.005), "blue", 1.0)
    return make_object_xml("block", position, BAR_YAW, make_box_xml("block", BAR_HALF, "red", 0.1)) + make_object_xml(
        "target", np.array([*PAD_CENTRE, PAD_TOP - 0.005]), 0.0, pad, fixed=True
    )


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


def is_on_block(scene: Scene) -> bool:
    """The hammer's head stands over the block, as low as a strike brings it."""
    aside = scene.centre("hammer_head") - scene.centre("block")
    return bool(_is_within(aside, 0.02) and aside[2] < CUBE + HAMMER_HEAD_HALF + 0.009)


def is_on_pad(scene: Scene) -> bool:
    """The bar stands upright on the pad."""
    aside = scene.centre("block") - [*PAD_CENTRE, PAD_TOP + BAR_HALF[2]]
    return bool(_is_within(aside, 0.02) and abs(aside[2]) < 0.01 and scene.upright("block") > 0.99)


def is_stacked(scene: Scene) -> bool:
    """The black block stands on the red one, and the red one in the middle."""
    red = scene.centre("block1")
    aside = scene.centre("block2") - red
    stacked = _is_within(aside, 0.02) and abs(aside[2] - 2 * CUBE) < 0.005
    return bool(stacked and _is_within(red[:2] - STACK_CENTRE, 0.025))


def hands_are_open(scene: Scene) -> bool:
    """Both hands have let go of whatever they held."""
    return all(scene.opening(side) > OPEN for side in SIDES)


def _is_within(aside: np.ndarray, limit: float) -> bool:
    return abs(aside[0]) < limit and abs(aside[1]) < limit


def _hammer_is_in_hand(scene: Scene) -> bool:
    """Above the table, and the block not knocked off it."""
    return bool(scene.centre("hammer_head")[2] > TABLE_TOP + 2 * LIFT and scene.centre("block")[2] > TABLE_TOP)


def side_of(x: float) -> str:
    """The arm that works at this x, in metres."""
    return "right" if x > 0 else "left"


def _shoulder_distance(x: float, y: float) -> float:
    return float(np.hypot(x - BASE_X[side_of(x)], y - BASE_Y))


_TASK_LIST = (
    Task(
        name="block_hammer_beat",
        place_objects=place_hammer_and_block,
        objects=("hammer", "block"),
        carried=("hammer",),
        watched=("hammer_head", "block"),
        limit=250,
        placed=is_on_block,
        succeeded=lambda scene: scene.touched and is_on_block(scene),
        kept=_hammer_is_in_hand,
        instructions=(
            "beat the block with the hammer",
            "pick up the hammer and strike the red block",
            "grasp the hammer and hit the block",
            "use the hammer to beat the red block",
        ),
        unseen_instructions=("take the hammer and knock on the red cube", "hammer the block"),
    ),
    Task(
        name="block_handover",
        place_objects=place_bar,
        objects=("block",),
        carried=("block",),
        watched=("block", "pad"),
        limit=400,
        placed=is_on_pad,
        succeeded=lambda scene: hands_are_open(scene) and is_on_pad(scene),
        kept=lambda scene: hands_are_open(scene) and is_on_pad(scene),
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
        objects=("block1", "block2"),
        carried=("block1", "block2"),
        watched=("block1", "block2"),
        limit=550,
        placed=is_stacked,
        succeeded=lambda scene: hands_are_open(scene) and is_stacked(scene),
        kept=lambda scene: hands_are_open(scene) and is_stacked(scene),
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


def find_task(name: str) -> Task:
    """The task of that name; raises UserError where there is none."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; choose from {', '.join(TASKS)}.")
    return TASKS[name]
