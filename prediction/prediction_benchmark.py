"""benchmark.json beside predictions: what a prediction took, for tables of parameters, memory and seconds.

A folder may be the work of several calls, on other devices or in other batches: each record says its own, and the
benchmark is that of the largest part with the same.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from formats.atomic import write_json
from formats.provenance import describe_device, read_commit
from prediction.dataset import RECORDS, read_records
from prediction.load import LoadedPredictor

BENCHMARK = "benchmark.json"
FRAMES = 15  # whose seconds papers on this task print
FACTS = ("batch_size", "device", "torch", "commit")


def describe_run(loaded: LoadedPredictor, batch_size: int) -> dict[str, Any]:
    """FACTS of a call, for its records: what seconds depend on and pictures do not."""
    device = describe_device(loaded.predictor.model.device)
    return dict(zip(FACTS, (batch_size, device, torch.__version__, read_commit()), strict=True))


def write_benchmark(folder: Path, loaded: LoadedPredictor, settings: dict[str, Any]) -> None:
    """Write benchmark.json from the records of a predictions folder.

    Args:
        folder: with the predictions.jsonl of `predict_data_set`.
        loaded: what predicted.
        settings: that the folder was made with.
    """
    records = list(read_records(folder / RECORDS, settings).values())
    write_json(folder / BENCHMARK, describe_benchmark(loaded, records))


def describe_benchmark(loaded: LoadedPredictor, records: Sequence[dict]) -> dict[str, Any]:
    """Parameters, median seconds a frame, peak memory, and on what, with what; null where older records do not say.

    Seconds are those of a batch over its frames, reading and resizing included, loading the model not.
    """
    model, options = loaded.predictor.model, loaded.predictor.options
    parts = model.describe_parts()
    facts = Counter(_facts_of(record) for record in records).most_common(1)[0][0]
    records = [record for record in records if _facts_of(record) == facts]
    seconds = statistics.median(record["seconds"] for record in records)
    return {
        "parameters": f"{sum(parts.values()) / 1e6:.4g}M",
        "parameters_of": {part: f"{count / 1e6:.4g}M" for part, count in parts.items()},
        "seconds_a_frame": seconds,
        f"seconds_{FRAMES}_frames": round(FRAMES * seconds, 4),
        "peak_memory_mib": max((r["peak_memory_mib"] for r in records if "peak_memory_mib" in r), default=None),
        "num_frames": len(records),
        "steps": options.steps,
        "predictions_a_frame": loaded.predictor.count_predictions(records[0].get("horizon")),
        "sampler": options.sampler,
        "resolution": loaded.predictor.resolution,
        "precision": loaded.runtime.precision,
    } | dict(zip(FACTS, facts, strict=True))


def _facts_of(record: dict) -> tuple:
    return tuple(record.get(name) for name in FACTS)
