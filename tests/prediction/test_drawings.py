"""Laws of the modes, with a predictor that brightens by one and tells the scales in its pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from formats.predictions_folder import SPREAD_GAIN
from prediction.dataset import Job
from prediction.drawings import (
    BAR,
    GAP,
    comparison_video,
    draw_difference,
    draw_panels,
    draw_sweep,
    predict_futures,
    predict_rollout,
    predict_samples,
    rollout_video,
    write_rollout,
)
from prediction.postprocess import Postprocess
from prediction.predictor import FramePredictor, SamplingOptions
from prediction.request import Sweep


class Brighter:
    """Each prediction is one grey level brighter than its input, or ten times the text scale plus the image scale."""

    resolution = 100
    options = SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0)
    predict_views = FramePredictor.predict_views

    def predict(self, frames, sentences, seeds, horizon=None, *, seconds, options=None, progress, drawn=False):
        if options is None:  # ten grey levels a second; a sample is 20 darker or brighter
            levels = [10 * s + (20 * (-1) ** k if drawn else 0) for k, s in enumerate(seconds)]
            return frames + torch.tensor(levels).round().to(frames.dtype)[:, None, None, None]
        return frames * 0 + round(10 * options.text_scale + options.image_scale)

    def rollout(self, frames, sentences, seeds, num, *, seconds, progress):
        return torch.stack([frames + k for k in range(1, num + 1)])


@pytest.fixture
def job(tmp_path):
    Image.new("RGB", (40, 20), (50, 50, 50)).save(tmp_path / "frame.png")
    return Job("frame", tmp_path / "frame.png", "stack blocks", tmp_path / "out" / "frame.png", 0)


def test_a_rollout_writes_a_strip_and_every_frame(job):
    rollout = predict_rollout(Brighter(), job, 3, Postprocess())
    folder = write_rollout(rollout, 20, {})
    assert rollout.labels(20) == ["input", "+20 frames", "+40 frames", "+60 frames"]
    assert rollout.labels(None)[-1] == "+3 horizons"
    values = [Image.open(folder / f"{k:03d}.png").getpixel((0, 0))[0] for k in (1, 2, 3)]
    assert values == [51, 52, 53]
    assert Image.open(job.target).size == (4 * 100 + 3 * GAP, 100 + BAR)
    movie = list(rollout_video([rollout], 20))
    assert [int(frame[-1, -1, 0]) for frame in movie] == [50, 51, 52, 53]


def test_a_future_at_several_times_is_drawn_directly_and_says_them(job):
    future = predict_futures(Brighter(), job, (0.5, 2.0), Postprocess())
    assert [int(frame[0, 0, 0]) for frame in future.frames] == [55, 70]
    assert future.labels(20) == ["input", "+0.5 s", "+2 s"]


def test_samples_come_after_their_mean_with_a_map_of_where_they_differ(job):
    series, spread = predict_samples(Brighter(), replace(job, seconds=1.0), 2, Postprocess())
    assert [int(frame[0, 0, 0]) for frame in series.frames] == [60, 80, 40]
    assert series.labels(None) == ["input", "mean", "sample 1", "sample 2"]
    assert (spread == round(SPREAD_GAIN * 20 * 2**0.5)).all()


def test_a_sweep_shows_every_pair_of_scales(job):
    """Rows are text scales, columns image scales, after the input."""
    sheet = np.asarray(draw_sweep(Brighter(), job, Sweep((1.0, 3.0), (1.0, 2.0)), Postprocess()))
    grid = [[int(sheet[(r + 1) * (100 + BAR) + r * GAP - 1, (c + 1) * (100 + GAP), 0]) for c in (0, 1)] for r in (0, 1)]
    assert grid == [[11, 12], [31, 32]]


def test_a_comparison_shows_input_prediction_and_truth(job, tmp_path):
    job.target.parent.mkdir()
    Image.new("RGB", (100, 100), (60, 60, 60)).save(job.target)
    Image.new("RGB", (30, 30), (70, 70, 70)).save(tmp_path / "truth.png")
    known = Job(job.name, job.source, job.instruction, job.target, 0, tmp_path / "truth.png")
    with_truth, without = next(comparison_video([known], ["3"])), next(comparison_video([job]))
    assert [int(with_truth[-1, c * (100 + GAP), 0]) for c in range(3)] == [50, 60, 70]
    assert without.shape[1] == 2 * 100 + GAP


def flat(value, side=100):
    return np.full((side, side, 3), value, np.uint8)


def test_frames_stand_in_rows_under_their_labels():
    sheet = np.asarray(draw_panels([[flat(10), flat(20)], [flat(30)]], [["a", "b"], ["c"]]))
    assert sheet.shape == (2 * (100 + BAR) + GAP, 2 * 100 + GAP, 3)
    assert (sheet[BAR : BAR + 100, :100] == 10).all()
    assert (sheet[BAR : BAR + 100, 100 + GAP :] == 20).all()
    assert (sheet[100 + 2 * BAR + GAP :, :100] == 30).all()
    assert (sheet[: BAR - 2, :100] < 128).any(), "a label is written"
    sheet = np.asarray(draw_panels([[flat(10, side=8)]], [["a label that is far too long for such a small panel"]]))
    assert sheet.shape == (96 + BAR, 96, 3), "small frames are enlarged by whole numbers"


def test_no_change_is_white_and_full_change_black():
    assert (draw_difference(flat(5), flat(5)) == 255).all()
    assert (draw_difference(flat(0), flat(255)) == 0).all()
