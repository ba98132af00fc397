"""The measures of a training run are those of metrics."""

import numpy as np
import pytest
import torch

from ldm.data.pixels import array_to_tensor
from ldm.modules.losses.similarity import measure_similarity
from metrics.measures.frame import measure_frames

KEYS = ("psnr", "ssim", "psnr_motion")


def test_equal_to_metrics_measures():
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 256, (3, 32, 24, 3), dtype=np.uint8)
    truth[1] = np.linspace(0, 255, 24, dtype=np.uint8)[None, :, None]
    prediction = np.clip(truth + chance.normal(0, 9, truth.shape), 0, 255).astype(np.uint8)
    source = truth.copy()
    source[:, 4:9, 3:8] = 255 - source[:, 4:9, 3:8]
    tensors = [torch.stack([array_to_tensor(one) for one in several]) for several in (prediction, truth, source)]
    ours = measure_similarity(*tensors)
    for i in range(3):
        theirs = measure_frames(source[i], prediction[i], truth[i], KEYS)
        for key in KEYS:
            assert float(ours[key][i]) == pytest.approx(theirs[key], rel=1e-9), key


def test_equal_pictures_still_pictures_and_small_ones():
    frame = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    measured = measure_similarity(frame, frame, frame)
    assert measured["psnr"].isinf() and measured["psnr_motion"].isnan() and "ssim" not in measured
    assert "psnr_motion" not in measure_similarity(frame, frame)
