"""Laws of the picture grids; their place in a run is tested in tests/test_main.py."""

import numpy as np
import torch

from ldm.callbacks.image_logger import LABEL_WIDTH, make_grid


def test_each_row_shows_its_frames_in_order():
    """Black, grey and white frames come out where they belong, enlarged without blur."""
    greys = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)
    grid = np.asarray(make_grid({"input": greys, "prediction": greys.flip(0)}))
    scale = grid.shape[0] // 16
    centres = LABEL_WIDTH + scale * (4 + 8 * np.arange(3))
    assert grid[4 * scale, centres, 0].tolist() == [0, 128, 255]
    assert grid[12 * scale, centres, 0].tolist() == [255, 128, 0]


def test_rows_are_labelled():
    frames = torch.ones(1, 3, 128, 128)
    labels = np.asarray(make_grid({"truth": frames}))[:, :LABEL_WIDTH]
    assert (labels < 200).any()
