"""The text of the scene and of the robot: light, tints, two arms that mirror each other."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from simulator import robot, scene


def test_a_seed_decides_the_look_and_the_sun_stays_high():
    """Flatter light dots the shadows: at most 27 degrees from the vertical."""
    first, again, other = (scene.sample_look(np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again != other
    for seed in range(200):
        direction = np.array(scene.sample_look(np.random.default_rng(seed)).sun_direction)
        assert -direction[2] / np.linalg.norm(direction) >= np.cos(np.deg2rad(27))


def test_an_unseen_look_lies_outside_of_the_training_range():
    """The same draws of the seed, in ranges that do not overlap with those of any look of training."""
    for name in ("wall", "table", "sun"):
        low, high = scene.LOOKS["unseen"][name]
        assert all(high < r[name][0] or r[name][1] < low for look, r in scene.LOOKS.items() if look != "unseen")
    rngs = [np.random.default_rng(5) for _ in range(2)]
    train, unseen = (scene.sample_look(rng, look) for rng, look in zip(rngs, ("train", "unseen"), strict=True))
    assert train.sun_direction == unseen.sun_direction and unseen.sun < train.sun
    assert rngs[0].uniform() == rngs[1].uniform()


def test_objects_stand_in_the_scene():
    """A free body where it was put, a fixed one without a joint."""
    box = scene.make_box_xml("cube", (0.1, 0.2, 0.3), "red", 1.0)
    free = scene.make_object_xml("thing", np.array([0.1, 0.2, 0.8]), np.pi / 2, box)
    fixed = scene.make_object_xml("pad", np.zeros(3), 0.0, box.replace("cube", "plate"), fixed=True)
    look = scene.sample_look(np.random.default_rng(0))
    bodies = {
        body.get("name"): body for body in ElementTree.fromstring(scene.make_scene_xml(free + fixed, look)).iter("body")
    }
    assert bodies["thing"].get("pos") == "0.1 0.2 0.8"
    assert bodies["thing"].find("freejoint") is not None
    assert bodies["pad"].find("freejoint") is None


def test_the_wood_is_a_picture_and_always_the_same():
    """The texture is drawn, not downloaded."""
    assert scene.wood_png() == scene.wood_png.__wrapped__()
    assert Image.open(io.BytesIO(scene.wood_png())).size == (256, 256)


@pytest.mark.parametrize("side", robot.SIDES)
def test_an_arm_has_six_hinges_and_two_fingers(side):
    """So that a state has 2 x (6 + 1) numbers: the fingers move as one."""
    arm = ElementTree.fromstring(robot.make_arm_xml(side, fovy=37))
    joints = [joint.get("name") for joint in arm.iter("joint")]
    hinges = [name for name in joints if "_joint" in name]
    assert len(hinges) == robot.NUM_JOINTS == len(robot.HOME) == len(robot.SERVO_GAINS)
    assert len(joints) - len(hinges) == 2
    servos = ElementTree.fromstring(f"<actuator>{robot.make_actuator_xml(side)}</actuator>")
    assert [servo.get("joint") for servo in servos] == joints
    assert robot.STATE_SIZE == 14


def test_the_arms_are_told_apart_by_their_names():
    """No body of the left arm is called like one of the right arm."""
    names = [
        {body.get("name") for body in ElementTree.fromstring(robot.make_arm_xml(side, fovy=37)).iter("body")}
        for side in robot.SIDES
    ]
    assert not names[0] & names[1]
    excluded = ElementTree.fromstring(robot.make_exclusion_xml("left"))
    assert {excluded.get("body1"), excluded.get("body2")} <= names[0]
