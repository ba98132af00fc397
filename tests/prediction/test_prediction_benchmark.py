import json

from ldm.util import instantiate_from_config
from prediction.load import LoadedPredictor
from prediction.prediction_benchmark import describe_benchmark, write_benchmark
from prediction.predictor import FramePredictor, Runtime, SamplingOptions


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
