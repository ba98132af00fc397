"""Where objects lie, and what counts as success."""

import re

import numpy as np
import pytest

from simulator.tasks import OPEN, PAD_CENTRE, PAD_TOP, STACK_CENTRE, TASKS


class FakeScene:
    """Answers the rules of success from a table."""

    def __init__(self, centres: dict[str, tuple], *, opening: float = 0.045, touched: bool = True) -> None:
        self.centres = {name: np.array(centre) for name, centre in centres.items()}
        self.touched = touched
        self._opening = opening

    def centre(self, geom: str) -> np.ndarray:
        return self.centres[geom]

    def upright(self, geom: str) -> float:
        return 1.0

    def opening(self, side: str) -> float:
        return self._opening


DONE = {  # geometry of a success
    "block_hammer_beat": {"hammer_head": (0.1, 0.1, 0.824), "block": (0.1, 0.1, 0.765)},
    "block_handover": {"block": (*PAD_CENTRE, PAD_TOP + 0.1)},
    "blocks_stack_easy": {"block1": (*STACK_CENTRE, 0.765), "block2": (*STACK_CENTRE, 0.815)},
}


@pytest.mark.parametrize("name", TASKS)
def test_success_is_the_goal_reached_and_let_go(name):
    """A hand that still holds the object has not placed it; a hammer has to have touched."""
    task = TASKS[name]
    assert task.placed(FakeScene(DONE[name])) and task.succeeded(FakeScene(DONE[name]))
    assert task.kept(FakeScene(DONE[name]))
    closed = FakeScene(DONE[name], opening=0.9 * OPEN)
    assert task.placed(closed) and task.succeeded(closed) == (name == "block_hammer_beat")
    missed = FakeScene(DONE[name], touched=False)
    assert task.succeeded(missed) == (name != "block_hammer_beat")
    for geom in DONE[name]:
        aside = FakeScene({**DONE[name], geom: np.add(DONE[name][geom], (0.03, 0, 0))})
        assert not task.placed(aside) and not task.succeeded(aside)


def read_places(objects: str) -> np.ndarray:
    return np.array(
        [[float(x) for x in text.split()] for text in re.findall(r'<body name="\w+" pos="([^"]+)"', objects)]
    )


def test_objects_lie_in_robotwins_ranges():
    """x in [-0.25, 0.25]; y by task; blocks keep their distances."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        _, block = read_places(TASKS["block_hammer_beat"].place_objects(rng))
        assert 0.05 <= abs(block[0]) <= 0.25 and -0.05 <= block[1] <= 0.15
        bar, pad = read_places(TASKS["block_handover"].place_objects(rng))
        assert -0.25 <= bar[0] <= -0.05 and 0 <= bar[1] <= 0.2
        assert tuple(pad[:2]) == (0.23, 0.09)
        red, black = read_places(TASKS["blocks_stack_easy"].place_objects(rng))
        assert np.linalg.norm(red - black) > 0.1
        assert max(abs(red[0]), abs(black[0])) <= 0.25


def test_the_sentences_for_testing_are_unseen():
    """No sentence is in both lists."""
    for task in TASKS.values():
        assert task.instructions and task.unseen_instructions
        assert not set(task.instructions) & set(task.unseen_instructions)
