"""What the simulator's tests share: one played episode, and pictures where OpenGL can draw."""

from dataclasses import replace

import pytest

from simulator.recorder import Footage, Trajectory, render, simulate


@pytest.fixture(scope="session")
def hammer() -> Trajectory:
    """block_hammer_beat, seed 0, 5 frames a second."""
    return simulate("block_hammer_beat", 0, save_freq=50)


@pytest.fixture(scope="session")
def commands() -> Trajectory:
    """The same at 16.7 frames a second, RoboTwin's own and a policy's rate."""
    return simulate("block_hammer_beat", 0, save_freq=15)


@pytest.fixture(scope="session")
def first_frame(hammer: Trajectory, can_draw: None) -> Footage:
    """Frame 0 of `hammer`, of the head and the left wrist camera."""
    return render(replace(hammer, qpos=hammer.qpos[:1]), ("head", "left"))
