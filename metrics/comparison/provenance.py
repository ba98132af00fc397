"""What a table was made of, so that its numbers can be traced and its pictures found again."""

from argparse import Namespace
from collections.abc import Iterable, Sequence

from formats.provenance import read_commit
from metrics.comparison.predictions import Predictions
from metrics.measures.motion import MOTION_THRESHOLD
from metrics.reports.runs import BENCHMARK, read_json


def describe_comparison(options: Namespace, systems: Sequence[Predictions]) -> dict:
    """Command, commit, data, options and systems of a comparison, for table.json."""
    return {
        "command": options.command,
        "commit": read_commit(),
        "data": str(options.data),
        "split": options.split,
        "episodes": options.episodes,
        "train_data": str(options.train_data) if options.train_data else None,
        "train_episodes": options.train_episodes,
        "match": str(options.match) if options.match else None,
        "size": options.size,
        "group": options.group,
        "motion_threshold": MOTION_THRESHOLD,
        "systems": describe_systems(systems),
    }


def describe_systems(systems: Iterable[Predictions]) -> dict:
    """Folders, missing and unmatched pictures, what all lines of predictions.jsonl agree on, and benchmark.json."""
    return {
        system.name: {
            "folder": str(system.folder),
            "missing": list(system.missing),
            "unmatched": list(system.unmatched),
            "settings": _common_settings(system.records),
            "benchmark": read_json(system.folder / BENCHMARK),
        }
        for system in systems
    }


def _common_settings(records: dict[str, dict]) -> dict:
    entries = list(records.values())
    if not entries:
        return {}
    return {key: value for key, value in entries[0].items() if all(entry.get(key) == value for entry in entries)}
