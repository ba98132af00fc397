"""Calibration: the error of samples of the truth's own distribution is as large as they say."""

import numpy as np
import pytest

from metrics import calibration


def test_samples_of_the_truth_are_calibrated_in_every_bin():
    """With N samples the error is sqrt(1 + 1/N) times the spread, and every pixel lies in one bin."""
    rng = np.random.default_rng(0)
    true_spread = np.repeat([3.0, 12.0], 5000)[None]
    futures = 128 + true_spread[..., None] * rng.normal(size=(9, 1, 10_000, 3))  # the first is the truth
    mean, spread = futures[1:].mean(axis=0), true_spread
    bins = calibration.measure_calibration([(futures[0].round().astype(np.uint8), mean, spread)])
    assert [(one.low, one.high, one.count) for one in bins] == [(2.0, 4.0, 5000), (8.0, 16.0, 5000)]
    assert [one.error / one.spread for one in bins] == pytest.approx([np.sqrt(1 + 1 / 8)] * 2, rel=0.03)


def test_predictions_without_samples_are_refused(tmp_path, pair_folder, capsys):
    folder = pair_folder()
    (tmp_path / "predictions.jsonl").write_text('{"pair_id": "square/0/0-3", "file": "a.png"}\n')
    assert calibration.main(["--data", str(folder), "--predictions", str(tmp_path)]) == 2
    assert "without --samples" in capsys.readouterr().err
