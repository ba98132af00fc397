"""The world answers scripts and policies alike, repeats itself to the last bit, and refuses what no robot can do."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands.errors import UserError
from formats.pictures import resize_square
from simulator.engine import RendererUnavailable, require_renderer
from simulator.studio import shrink
from simulator.world import HOLD_SECONDS, World

PERIOD = 0.06  # seconds, RoboTwin's 15 steps of 1/250 s


@pytest.fixture
def world() -> World:
    world = World()
    world.reset("blocks_stack_easy", 3)
    return world


def fingerprint(world: World, *, draw: bool = False) -> str:
    """Of the joints, the objects and, if it is to be drawn, two cameras' pictures, after each of 3 commands."""
    digest = hashlib.sha256()
    for step in range(3):
        world.step(world.state().target + 0.02 * np.sin(np.arange(14) + step) * (np.arange(14) % 7 < 6), PERIOD)
        for numbers in (world.state().measured, world.state().target, world.object_poses()):
            digest.update(numbers.tobytes())
        for frame in world.observe(("head", "right"), size=64).values() if draw else ():
            digest.update(frame.tobytes())
    return digest.hexdigest()


def test_a_seed_and_its_commands_decide_every_byte(world):
    """Of states and, where there is OpenGL, of frames: in this process again, and in another one."""
    try:
        require_renderer()
        draw = True
    except RendererUnavailable:
        draw = False
    first = fingerprint(world, draw=draw)
    world.reset("block_handover", 1)
    world.reset("blocks_stack_easy", 3)
    assert fingerprint(world, draw=draw) == first
    code = (
        "from tests.simulator.test_world import World, fingerprint\n"
        f"world = World()\nworld.reset('blocks_stack_easy', 3)\nprint(fingerprint(world, draw={draw}))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == first


def test_looking_changes_nothing_and_repeats_itself(world, can_draw):
    """Physics after an observation is the physics without one; the same moment gives the same bytes."""
    first = fingerprint(world)
    world.reset("blocks_stack_easy", 3)
    frames = world.observe(("head", "left"))
    small = world.observe(("head", "left"), size=128)
    assert fingerprint(world) == first
    world.reset("blocks_stack_easy", 3)
    for camera, frame in world.observe(("head", "left")).items():
        assert frame.shape == (240, 320, 3) and np.array_equal(frame, frames[camera])
        assert np.array_equal(small[camera], resize_square(frame, 128))
    world.reset("blocks_stack_easy", 3, look="unseen")
    assert fingerprint(world) == first
    world.close()


def test_a_recorded_episode_replays(commands):
    """The targets of an episode at 16.7 Hz lead to its success, on straight lines from command to command."""
    world = World()
    world.reset("block_hammer_beat", 0)
    for target in commands.executed[1:]:
        world.step(target, PERIOD)
    assert world.num_clipped == 0
    assert np.abs(world.state().measured - commands.measured[-1]).max() < 0.02
    result = world.succeeded()
    assert result and result.held is None and result.first < world.seconds
    world.hold(HOLD_SECONDS)
    assert world.succeeded().held


def test_the_command_goes_on_a_straight_line(world):
    """Half way through the period, half the way; the measured joint lags behind it."""
    before, seen = world.state().target, []
    world.after_physics = lambda step, num_steps: seen.append(world.state().target)
    goal = before + np.where(np.arange(14) % 7 < 6, 0.03, 0.0)
    world.step(goal, PERIOD)
    assert len(seen) == 30 and world.seconds == pytest.approx(PERIOD)
    assert np.allclose(seen[14], (before + goal) / 2) and np.allclose(seen[-1], goal)
    lag = np.abs(world.state().measured - world.state().target)
    assert 1e-4 < lag.max() < 0.03


def test_commands_beyond_the_limits_are_clipped_and_counted(world):
    """Fingers open 47 mm at most; a joint stops at its range."""
    targets = world.state().target
    targets[[0, 6, 13]] = 99.0, 1.0, -1.0
    world.step(targets, PERIOD)
    assert world.num_clipped == 1
    assert world.state().target[[6, 13]] == pytest.approx([0.047, 0.0])
    assert world.state().target[0] == pytest.approx(np.deg2rad(177.6))
    world.hold(0.1)
    assert world.num_clipped == 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda world: world.step(np.full(14, np.nan), PERIOD), "not finite in place 0"),
        (lambda world: world.step(np.zeros(7), PERIOD), r"shape \(7,\), wanted \(14,\)"),
        (lambda world: world.step(np.zeros(14), 0.0611), "whole number of physics steps"),
        (lambda world: world.observe(("top",)), "no camera 'top'"),
        (lambda world: world.reset("juggle", 0), "no task 'juggle'"),
        (lambda world: world.reset("block_handover", -1), "wanted 0 or more"),
        (lambda world: world.reset("block_handover", 0, look="foggy"), "no look 'foggy'"),
        (lambda world: World().state(), "call reset"),
    ],
)
def test_what_cannot_be_is_one_sentence(world, act, message):
    """And the world stands as it stood."""
    before = world.state().target
    with pytest.raises(UserError, match=message):
        act(world)
    assert np.array_equal(world.state().target, before)


def test_an_unused_world_travels_to_another_process(world):
    """A world with a scene does not."""
    assert pickle.loads(pickle.dumps(World())).task is None
    with pytest.raises(TypeError, match="make a new one"):
        pickle.dumps(world)


def test_shrinking_keeps_a_plain_colour():
    assert np.array_equal(shrink(np.full((240, 320, 3), 77, np.uint8), 64), np.full((64, 64, 3), 77))
