"""Laws of the picture grids; their place in a run is tested in tests/test_main.py."""

from functools import partial

import numpy as np
import torch

from ldm.callbacks.image_logger import LABEL_WIDTH, make_grid
from ldm.models.diffusion.ddim import DDIMSampler
from ldm.models.diffusion.guidance import DualGuidance
from ldm.training.build import build_trained_model


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


def test_a_model_shows_input_truth_reconstruction_and_prediction(tiny_model_config):
    model = build_trained_model(tiny_model_config).eval()
    source, target = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    batch = {"source_frame": source, "target_frame": target, "instruction": ["a", "b", "c"]}
    guidance = partial(DualGuidance, text_scale=1.0, image_scale=1.0)
    rows = model.log_images(batch, DDIMSampler(model.schedule, 1), guidance, max_images=2)
    assert list(rows) == ["input", "truth", "reconstruction", "prediction"]
    assert torch.equal(rows["input"], source[:2]) and torch.equal(rows["truth"], target[:2])
    torch.testing.assert_close(rows["reconstruction"], target[:2])  # this first stage loses nothing
    assert rows["prediction"].shape == target[:2].shape and not torch.equal(rows["prediction"], target[:2])
