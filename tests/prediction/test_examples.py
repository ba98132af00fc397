"""Laws of examples: spread, and truths looked up by frame number."""

import numpy as np
from PIL import Image

from prediction.examples import Examples


def left_edge_of_red(path):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return int(np.argmax((pixels == (255, 0, 0)).all(axis=2).any(axis=0)))


def test_truths_are_the_frames_so_many_horizons_later(pair_folder):
    """Read from the pixels: the square is at column 0 in frame 0; the episode ends before three horizons."""
    examples = Examples.read(pair_folder(length=10, horizon=3), "test")
    name = next(name for name in examples.pairs if name.endswith("/0-3"))
    assert left_edge_of_red(examples.source(name)) == 0
    assert [left_edge_of_red(path) for path in examples.truths(name, 4, None)] == [3, 6, 9]
    assert [left_edge_of_red(path) for path in examples.truths(name, 4, 3)] == [3, 6, 9]


def test_truths_are_as_far_ahead_as_the_model_looks(pair_folder):
    """A model of another horizon than the pairs': its distances, and no later truth in the place of an absent one."""
    examples = Examples.read(pair_folder(length=12, horizon=3), "test")
    name = next(name for name in examples.pairs if name.endswith("/0-3"))
    assert [left_edge_of_red(path) for path in examples.truths(name, 2, 5)] == [5, 10]
    assert examples.truths(name, 3, 2) == [], "no pair ends at frame 2, though one does at frame 4"


def test_an_own_picture_has_no_truth(pair_folder):
    examples = Examples.read(pair_folder(), "test")
    assert examples.truths(None, 2, 3) == []


def test_few_are_chosen_from_the_whole(pair_folder):
    examples = Examples.read(pair_folder(num_episodes=8), "all")
    chosen = examples.choose(4)
    assert [name.split("/")[1] for name in chosen] == ["0", "2", "4", "6"]
    assert examples.choose(1000) == list(examples.pairs)
    assert examples.instructions() == ["move the square"]
