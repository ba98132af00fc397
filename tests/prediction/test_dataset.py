"""Laws of the predictions folder: whole, resumable, and never mixed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from commands.errors import UserError
from formats.pictures import open_picture
from formats.predictions_folder import METADATA_KEY, SPREAD_GAIN, read_records, spread_path
from formats.prepared_folder import read_manifest
from ldm.data.pixels import array_to_tensor, to_signed, to_uint8
from ldm.util import instantiate_from_config
from prediction.dataset import (
    Job,
    PredictedJob,
    describe_benchmark,
    jobs_of_pairs,
    predict_batches,
    predict_data_set,
    reconstruct_batches,
    write_benchmark,
)
from prediction.load import LoadedPredictor
from prediction.predictor import FramePredictor, Runtime, SamplingOptions, sample_seeds, seed_of

SIDE = 16
SETTINGS = {"steps": 2, "interval": [0.0, 5.0]}


@pytest.fixture
def jobs(pair_folder, tmp_path):
    folder = pair_folder()
    return jobs_of_pairs(read_manifest(folder, "test"), folder, tmp_path / "out", None, seed=7)


def stub_batches(done):
    """Predicts grey, and notes what it was asked for."""

    def predict(todo):
        for job in todo:
            done.append(job.name)
            yield [PredictedJob(job, open_picture(job.source), np.full((4, 4, 3), 99, np.uint8), 0.5)]

    return predict


def test_records_say_how_each_picture_was_made(jobs, tmp_path):
    predict_data_set(stub_batches([]), jobs, tmp_path / "out", SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [line["pair_id"] for line in lines] == [job.name for job in jobs]
    assert lines[0] == lines[0] | SETTINGS | {"seed": seed_of(jobs[0].name, 7), "seconds": 0.5}
    assert len({line["seed"] for line in lines}) == len(jobs)
    assert lines[0]["instruction"] == "move the square", "the pair's own"
    assert 0 < lines[0]["peak_memory_mib"] <= lines[-1]["peak_memory_mib"]
    with Image.open(tmp_path / "out" / lines[0]["file"]) as picture:
        assert picture.getpixel((0, 0)) == (99, 99, 99)
        assert json.loads(picture.text[METADATA_KEY])["steps"] == 2


def test_an_interrupted_call_is_taken_up_where_it_was(jobs, tmp_path):
    """Also when a picture is gone."""
    done = []
    predict_data_set(stub_batches(done), jobs[:2], tmp_path / "out", SETTINGS)
    assert predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS) == 2
    assert done == [job.name for job in jobs]
    jobs[1].target.unlink()
    done.clear()
    predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS)
    assert done == [jobs[1].name]
    assert len(read_records(tmp_path / "out")) == len(jobs)


def test_a_picture_that_changed_under_its_name_is_predicted_again(jobs, tmp_path):
    """A folder prepared again keeps its pair ids."""
    done = []
    predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS)
    Image.new("RGB", (16, 16)).save(jobs[1].source)
    done.clear()
    assert predict_data_set(stub_batches(done), jobs, tmp_path / "out", SETTINGS) == len(jobs) - 1
    assert done == [jobs[1].name]


def test_another_sentence_seed_or_setting_over_a_folder_is_said(jobs, tmp_path):
    """Also where this call would predict other pairs of the data set: the folder would be a mixture."""
    predict_data_set(stub_batches([]), jobs[:1], tmp_path / "out", SETTINGS)
    with pytest.raises(UserError, match=r"steps=2, now it is 3; choose another --output"):
        predict_data_set(stub_batches([]), jobs, tmp_path / "out", SETTINGS | {"steps": 3})
    for name, value in (("instruction", "go home"), ("seed", 8)):
        others = [replace(job, **{name: value}) for job in jobs]
        with pytest.raises(UserError, match=f"was predicted with {name} .* choose another --output"):
            predict_data_set(stub_batches([]), others[1:], tmp_path / "out", SETTINGS, None, others)


def test_a_sentence_with_a_line_separator_survives_a_resume(jobs, tmp_path):
    """U+2028 ends a line for str.splitlines, and is a letter to JSON."""
    odd = [replace(job, instruction="stack\u2028the\u0085blocks\n") for job in jobs]
    predict_data_set(stub_batches([]), odd[:2], tmp_path / "out", SETTINGS)
    assert predict_data_set(stub_batches([]), odd, tmp_path / "out", SETTINGS) == 2
    assert {record["instruction"] for record in read_records(tmp_path / "out").values()} == {odd[0].instruction}


def test_batches_keep_order_and_size(jobs):
    class Predictor:
        resolution = 8
        predict_views = FramePredictor.predict_views

        def predict(self, frames, sentences, seeds, horizon, *, seconds, progress, episodes):
            return frames

    batches = list(predict_batches(Predictor(), jobs, 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [item.job for batch in batches for item in batch] == jobs
    expected = open_picture(jobs[0].source).squared(8)
    assert np.array_equal(batches[0][0].frame, expected)
    assert jobs[0].truth.is_file() and jobs[0].source != jobs[0].truth


class Dimmer:
    """Draws black frames: one grey level a second ahead, or 10 by every other seed where it draws a sample."""

    resolution = 8
    predict_views = FramePredictor.predict_views

    def predict(self, frames, sentences, seeds, horizon, *, seconds, progress, episodes, drawn=False):
        levels = [10 * (seed % 2) for seed in seeds] if drawn else [round(second) for second in seconds]
        return torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand_as(frames)

    def rollout(self, frames, sentences, seeds, num, *, seconds, progress, episodes):
        return torch.stack([torch.full_like(frames, k + 1) for k in range(num)])


def test_samples_give_their_mean_and_twice_their_spread(jobs, tmp_path):
    """The record names their number, and the map lies beside the pictures, in a folder of its own."""
    seeds = [[seed % 2 for seed in sample_seeds(job.seed, 4)] for job in jobs[:2]]
    (batch,) = predict_batches(Dimmer(), jobs[:2], 2, samples=4)
    for item, odd in zip(batch, seeds, strict=True):
        assert item.frame[0, 0, 0] == round(10 * np.mean(odd)) and item.spread.shape == (8, 8)
        assert item.spread[0, 0] == round(SPREAD_GAIN * 10 * np.std(odd, ddof=1))
    predict_data_set(lambda todo: [batch], jobs[:2], tmp_path / "out", {"samples": 4})
    assert {r["samples"] for r in read_records(tmp_path / "out").values()} == {4}
    assert spread_path(tmp_path / "out", jobs[0].name).is_file()


def test_a_chain_reaches_each_pairs_own_time(jobs):
    timed = [replace(job, seconds=seconds) for job, seconds in zip(jobs, (1.5, 0.5, 2.0), strict=False)]
    (batch,) = predict_batches(Dimmer(), timed, 3, chain=0.5)
    assert [int(item.frame[0, 0, 0]) for item in batch] == [3, 1, 4]
    (batch,) = predict_batches(Dimmer(), timed, 3)
    assert [int(item.frame[0, 0, 0]) for item in batch] == [2, 0, 2], "each drawn directly at its time"
    with pytest.raises(UserError, match="no multiple"):
        list(predict_batches(Dimmer(), timed, 3, chain=0.4))


@pytest.fixture
def predictor(tiny_model_config, kl_node):
    torch.manual_seed(0)
    model = instantiate_from_config(kl_node(model=tiny_model_config), "model").eval()
    return FramePredictor(model, SIDE, SamplingOptions(steps=1, text_scale=1.0, image_scale=1.0))


@pytest.fixture
def truths(tmp_path):
    """Three jobs whose sources are true future frames."""
    made = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        made.append(Job(str(number), tmp_path / f"{number}.png", "go", tmp_path / f"{number}_out.png", 0))
    return made


def test_truths_are_encoded_and_decoded(predictor, truths):
    """The posterior's mode, so the same every time and in every batch."""
    done = [item for batch in reconstruct_batches(predictor, truths, 2) for item in batch]
    assert [item.job.name for item in done] == ["0", "1", "2"]
    stage = predictor.model.first_stage_model
    for item in done:
        truth = np.asarray(Image.open(item.job.source))
        with torch.inference_mode():
            expected = to_uint8(stage(to_signed(array_to_tensor(truth)[None])))[0].permute(1, 2, 0)
        assert np.abs(item.frame.astype(int) - expected.numpy()).max() <= 1, "rounding of another batch size"
        assert np.abs(item.frame.astype(int) - truth).max() > 1, "a stage with random weights is not lossless"


def _load(config, path):
    model = instantiate_from_config(config, "model").eval()
    predictor = FramePredictor(model, 8, SamplingOptions(steps=4, text_scale=1.0, image_scale=1.0), horizon=3)
    return LoadedPredictor(predictor, path, "abc", Runtime())


def test_median_peak_and_parameters(tiny_model_config, tmp_path):
    """The first batch, slow for warming up, does not count for more than another; the average's weights not at all."""
    loaded = _load(tiny_model_config, tmp_path)
    records = [{"seconds": s, "peak_memory_mib": m, "horizon": 6} for s, m in ((9.0, 300), (1.0, 301), (2.0, 302))]
    found = describe_benchmark(loaded, records)
    assert (found["seconds_a_frame"], found["seconds_15_frames"], found["peak_memory_mib"]) == (2.0, 30.0, 302)
    assert (found["steps"], found["predictions_a_frame"], found["num_frames"]) == (4, 2, 3)
    parts = (loaded.predictor.model.model, loaded.predictor.model.cond_stage_model)
    count = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert found["parameters"] == f"{count / 1e6:.4g}M"


def test_records_before_peak_memory_was_kept_are_taken(tiny_model_config, tmp_path):
    records = {"pair_id": "a", "seconds": 0.5, "steps": 4}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(records) + "\n")
    write_benchmark(tmp_path, _load(tiny_model_config, tmp_path), {"steps": 4})
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["batch_size"] is None and found["peak_memory_mib"] is None and found["seconds_15_frames"] == 7.5


def test_seconds_of_different_calls_are_not_mixed(tiny_model_config, tmp_path):
    """Two frames in batches of 2, then one alone: the larger part counts, under its own batch size."""
    records = [{"seconds": s, "batch_size": b, "device": "cpu"} for s, b in ((1.0, 2), (1.0, 2), (9.0, 1))]
    found = describe_benchmark(_load(tiny_model_config, tmp_path), records)
    assert (found["seconds_a_frame"], found["batch_size"], found["num_frames"]) == (1.0, 2, 2)
