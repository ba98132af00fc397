"""benchmark.json beside predictions: what a prediction took, for tables of parameters, memory and seconds. Layer 6."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ldm.callbacks.run_facts import describe_device
from ldm.commit import read_commit
from ldm.data.atomic import write_json
from ldm.loading import LoadedPredictor
from ldm.models.diffusion.ddpm import describe_parts
from ldm.prediction_folder import RECORDS, read_records

BENCHMARK = "benchmark.json"
FRAMES = 15  # whose seconds papers on this task print


def write_benchmark(folder: Path, loaded: LoadedPredictor, settings: dict[str, Any], batch_size: int) -> None:
    """Write benchmark.json from the records of a predictions folder.

    Args:
        folder: with the predictions.jsonl of `predict_data_set`.
        loaded: what predicted.
        settings: that the folder was made with.
        batch_size: frames predicted at once.
    """
    records = list(read_records(folder / RECORDS, settings).values())
    write_json(folder / BENCHMARK, describe_benchmark(loaded, records, batch_size))


def describe_benchmark(loaded: LoadedPredictor, records: Sequence[dict], batch_size: int) -> dict[str, Any]:
    """Parameters, median seconds a frame, peak memory, and on what, with what.

    Seconds are those of a batch over its frames, reading and resizing included, loading the model not.
    """
    model, options = loaded.predictor.model, loaded.predictor.options
    parts = describe_parts(model)
    seconds = statistics.median(record["seconds"] for record in records)
    return {
        "parameters": f"{sum(parts.values()) / 1e6:.4g}M",
        "parameters_of": {part: f"{count / 1e6:.4g}M" for part, count in parts.items()},
        "seconds_a_frame": seconds,
        f"seconds_{FRAMES}_frames": round(FRAMES * seconds, 4),
        "peak_memory_mib": max((r["peak_memory_mib"] for r in records if "peak_memory_mib" in r), default=None),
        "num_frames": len(records),
        "batch_size": batch_size,
        "steps": options.steps,
        "predictions_a_frame": loaded.predictor.count_predictions(records[0].get("horizon")),
        "sampler": options.sampler,
        "resolution": loaded.predictor.resolution,
        "precision": loaded.runtime.precision,
        "device": describe_device(model.device),
        "torch": torch.__version__,
        "commit": read_commit(),
    }
