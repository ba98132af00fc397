"""The robot's text: two arms that mirror each other."""

from xml.etree import ElementTree

import pytest

from simulator import robot


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
