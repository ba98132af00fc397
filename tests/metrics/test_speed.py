"""The command against a plain scikit-image loop, in one run on the same processors; `-m slow -s` prints the ratio.

FRAME_PAIRS=1000 sets the number of pairs; 300 by default, so that starting the processes does not count for much. Both
read the same files, measure the same things on the same two rows (copy the input, a model) and resample episodes 2000
times: every pixel measure but MS-SSIM, which scikit-image lacks. Processor seconds are compared, since other programs
may be running; where none is, two processes besides finish in half the time.
"""

import csv
import json
import os
import time

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from formats.prepared_folder import FramePair, read_manifest, write_manifest
from formats.tasks import ANY_COLOURS
from metrics.comparison.bootstrap import NUM_DRAWS
from metrics.compute_metrics import main
from metrics.measures.blocks import MAX_OTHER, MIN_AREA, MIN_LEVEL
from metrics.measures.motion import MOTION_THRESHOLD

SIZE = 256
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
KEYS = ("psnr", "psnr_as_published", "ssim", "ssim_as_published", "ssim_uniform", "ssim_uniform_as_published",
        "psnr_motion", "ssim_motion", "iou_motion", "copyness", "block_error", "block_lost")  # fmt: skip


def _smooth_frame(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC))


@pytest.fixture
def many_pairs(tmp_path):
    """Pairs at 256 px, 10 an episode, and a prediction for each."""
    pairs = []
    for i in range(int(os.environ.get("FRAME_PAIRS", "300"))):
        sample = f"{i:07d}"
        folder = tmp_path / "data" / sample
        folder.mkdir(parents=True)
        pair = FramePair(
            f"t{i % 3}/{i // 10}/{i}-{i + 50}", sample, "000000", "go", ".png", "test", f"t{i % 3}", i // 10
        )
        frames = [_smooth_frame(3 * (i % 30) + k) for k in range(3)]
        for frame, path in zip(frames, (pair.source_path(tmp_path / "data"), pair.target_path(tmp_path / "data"),
                                        tmp_path / "p" / f"{pair.pair_id}.png"), strict=True):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path, compress_level=1)
        pairs.append(pair)
    write_manifest(tmp_path / "data", pairs, {})
    return tmp_path


def _plain_measures(source, prediction, truth):
    """One pair, as one writes it with scikit-image."""
    mask = (np.abs(source.astype(int) - truth) > MOTION_THRESHOLD).any(-1)
    own = (np.abs(source.astype(int) - prediction) > MOTION_THRESHOLD).any(-1)
    values = {"psnr": peak_signal_noise_ratio(truth, prediction, data_range=255)}
    values["psnr_as_published"] = peak_signal_noise_ratio(truth / 255, prediction / 255, data_range=255)
    for name, window in (("ssim", GAUSSIAN), ("ssim_uniform", {})):
        options = window | {"channel_axis": -1}
        values[name], full = structural_similarity(truth, prediction, data_range=255, full=True, **options)
        published = structural_similarity(truth / 255, prediction / 255, data_range=255, **options)
        values[f"{name}_as_published"] = published
        if name == "ssim":
            inner = mask.copy()
            inner[:5], inner[-5:], inner[:, :5], inner[:, -5:] = False, False, False, False
            values["ssim_motion"] = full.mean(-1)[inner].mean()
    values["psnr_motion"] = 10 * np.log10(255**2 / np.mean((truth[mask].astype(float) - prediction[mask]) ** 2))
    values["iou_motion"] = (mask & own).sum() / (mask | own).sum()
    values["copyness"] = (mask & ~own).sum() / mask.sum()
    return values | _plain_blocks(prediction, truth)


def _plain_blocks(prediction, truth):
    """Distance of the centroids of the largest regions of each colour."""
    errors, lost = [], []
    for channel, colour in enumerate(("red", "green", "blue")):
        assert colour in ANY_COLOURS
        found = []
        for frame in (truth, prediction):
            own, others = frame[..., channel], np.delete(frame, channel, axis=-1)
            regions = regionprops(
                label((own >= MIN_LEVEL) & (others < MAX_OTHER * own[..., None]).all(-1), connectivity=1)
            )
            largest = max(regions, key=lambda region: region.area, default=None)
            found.append(largest if largest is not None and largest.area >= MIN_AREA * own.size else None)
        if found[0] is not None:
            lost.append(found[1] is None)
            errors += [] if found[1] is None else [np.linalg.norm(np.subtract(found[0].centroid, found[1].centroid))]
    return {"block_error": np.mean(errors) if errors else np.nan, "block_lost": np.mean(lost) if lost else np.nan}


def _plain_interval(values, episodes):
    """The bootstrap as one writes it: draw episodes, put their values together, take the mean."""
    generator = np.random.default_rng(0)
    by_episode = {}
    for value, episode in zip(values, episodes, strict=True):
        by_episode.setdefault(episode, []).append(value)
    names = list(by_episode)
    means = []
    for _ in range(NUM_DRAWS):
        drawn = generator.choice(len(names), len(names))
        means.append(np.nanmean(np.concatenate([by_episode[names[i]] for i in drawn])))
    return np.percentile(means, [2.5, 97.5])


def _run_plainly(folder):
    """Mean of every measure by row, over all pairs, with intervals for every task and all."""
    pairs = read_manifest(folder / "data")
    scores = {"copy the input": [], "p": []}
    for pair in pairs:
        source, truth, prediction = (
            np.asarray(Image.open(path).convert("RGB"))
            for path in (
                pair.source_path(folder / "data"),
                pair.target_path(folder / "data"),
                folder / "p" / f"{pair.pair_id}.png",
            )
        )
        scores["copy the input"].append(_plain_measures(source, source, truth))
        scores["p"].append(_plain_measures(source, prediction, truth))
    for rows in scores.values():
        for key in KEYS:
            for task in ("t0", "t1", "t2", None):
                chosen = [
                    (row[key], pair.episode) for row, pair in zip(rows, pairs, strict=True) if task in (None, pair.task)
                ]
                _plain_interval(*zip(*chosen, strict=True))
    return {
        (row, key): float(np.nanmean([values[key] for values in rows])) for row, rows in scores.items() for key in KEYS
    }


def _cpu_seconds():
    """Of this process and its finished children."""
    return sum(os.times()[:4])


@pytest.mark.slow
def test_five_times_as_fast_as_a_plain_loop_and_equal(many_pairs, capsys):
    started, cpu = time.perf_counter(), _cpu_seconds()
    expected = _run_plainly(many_pairs)
    plain, plain_cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    arguments = ["--data", many_pairs / "data", "--predictions", many_pairs / "p", "--measures", ",".join(KEYS),
                 "--no-cache", "--output", many_pairs / "o"]  # fmt: skip
    started, cpu = time.perf_counter(), _cpu_seconds()
    assert main([str(argument) for argument in arguments]) == 0
    ours, our_cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    with (many_pairs / "o" / "table.csv").open() as stream:
        found = {row["row"]: row for row in csv.DictReader(stream) if row["group"] == "mean"}
    table = json.loads((many_pairs / "o" / "table.json").read_text())
    for line in table["lines"]:
        if line["group"] == "mean":
            for key in KEYS:
                assert line["estimates"][key]["mean"] == pytest.approx(expected[line["row"], key], abs=1e-6)
    with capsys.disabled():
        print(f"\n{len(found)} rows: plain {plain:.1f} s, ours {ours:.1f} s, ratio {plain / ours:.1f}; "
              f"processor seconds {plain_cpu:.1f} and {our_cpu:.1f}, ratio {plain_cpu / our_cpu:.1f}")  # fmt: skip
    assert plain_cpu / our_cpu >= 5.0
