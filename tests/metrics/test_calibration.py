"""Calibration: the error of samples of the truth's own distribution is as large as they say."""

import numpy as np
import pytest
from PIL import Image

from formats.predictions_folder import SPREAD_GAIN, spread_path, write_records
from formats.prepared_folder import read_manifest
from metrics import calibration
from tests.metrics.conftest import moving_square


def test_samples_of_the_truth_are_calibrated_in_every_bin():
    """With N samples the error is sqrt(1 + 1/N) times the spread, and every pixel lies in one bin."""
    rng = np.random.default_rng(0)
    true_spread = np.repeat([3.0, 12.0], 5000)[None]
    futures = 128 + true_spread[..., None] * rng.normal(size=(9, 1, 10_000, 3))  # the first is the truth
    mean, spread = futures[1:].mean(axis=0), true_spread
    bins = calibration.measure_calibration([(futures[0].round().astype(np.uint8), mean, spread)])
    assert [(one.low, one.high, one.count) for one in bins] == [(2.0, 4.0, 5000), (8.0, 16.0, 5000)]
    assert [one.error / one.spread for one in bins] == pytest.approx([np.sqrt(1 + 1 / 8)] * 2, rel=0.03)


def test_means_and_maps_on_disk_become_a_table(pair_folder, predict, tmp_path, capsys):
    """Every pixel is 6 levels wrong and says 3; a map's levels are SPREAD_GAIN times as many."""
    folder = pair_folder(num_episodes=1)
    sampled = predict(folder, lambda pair: moving_square(7) - 6)
    pairs = read_manifest(folder)
    for pair in pairs:
        path = spread_path(sampled, pair.pair_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 3 * SPREAD_GAIN, np.uint8)).save(path)
    write_records(sampled, [{"pair_id": p.pair_id, "file": f"{p.pair_id}.png", "samples": 8} for p in pairs])
    arguments = ["--data", str(folder), "--predictions", str(sampled), "--output", str(tmp_path / "out")]
    assert calibration.main(arguments) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[2] == "| 2 to 4 | 512 | 100.0% | 3.00 | 6.00 | 2.00 | 100.0% |"
    assert (tmp_path / "out/calibration.md").read_text() == table
    assert (tmp_path / "out/calibration.csv").read_text().splitlines()[1:] == ["2.0,4.0,512,1.0,3.0,6.0,2.0,1.0"]


def test_predictions_without_samples_are_refused(tmp_path, pair_folder, capsys):
    folder = pair_folder()
    (tmp_path / "predictions.jsonl").write_text('{"pair_id": "square/0/0-3", "file": "a.png"}\n')
    assert calibration.main(["--data", str(folder), "--predictions", str(tmp_path)]) == 2
    assert "without --samples" in capsys.readouterr().err
