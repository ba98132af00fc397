"""Episodes => a LeRobot data set of version 3.0, without the lerobot package.

    meta/info.json, stats.json, tasks.parquet, episodes/chunk-000/file-000.parquet, episode_sources.jsonl (ours)
    data/chunk-000/file-000.parquet                                a row a frame
    videos/observation.images.<camera>/chunk-000/file-000.mp4      many episodes, one after the other

Source: lerobot 0.4.4, lerobot/datasets. States and actions are stored as float32, LeRobot's own precision. Pictures
are H.264 video, or, exact to the bit, PNG inside the rows.
"""

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from commands.errors import UserError
from dataset_tools.episode import Episode, Joints, Recording
from dataset_tools.preparing.instructions import SentenceRule, make_instruction
from dataset_tools.readers.lerobot import ACTION, ANGLES, CAMERA_PREFIX, INFO, SOURCES, STATE
from dataset_tools.writers.rolling_files import CHUNK_SIZE, CODEC, PICTURE, PIXELS, RollingTable, RollingVideo
from formats.atomic import draft_folder, write_json, write_jsonl
from formats.pictures import encode_picture

DATA_FILE_MB, VIDEO_FILE_MB = 100, 200  # LeRobot's defaults
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_FILE = Path("meta") / "episodes" / "chunk-000" / "file-000.parquet"
PICTURES = ("video", "image")
FASTEST = 10_000  # frames per second
UNKNOWN_ROBOT = "unknown"
STATS_STRIDE = 10  # every tenth picture enters the statistics
Stats = dict[str, np.ndarray]  # min, max, mean, std of one shape; count of shape (1,)
COUNTERS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}


@dataclass
class _Written:
    """Entries and counts of the episodes written so far."""

    features: dict = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)  # sentence => task_index
    episodes: list[dict] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    stats: list[dict[str, Stats]] = field(default_factory=list)
    rows: int = 0
    robots: set[str] = field(default_factory=set)  # as the episodes name them


def with_sentences(recordings: Sequence[Recording], rule: SentenceRule) -> list[Recording]:
    """The recordings, each with the sentence that a rule gives it."""
    named = ((one, f"{one.main.task}/{one.main.number}") for one in recordings)
    return [replace(one, instruction=make_instruction(rule, one.main, name, horizon=0)) for one, name in named]


def common_rate(episodes: Sequence[Episode], stated: float | None = None) -> float:
    """Frames per second of all the episodes; `stated` holds where they do not say.

    Raises:
        UserError: if it is unknown or they differ, among themselves or from the stated one.
    """
    if stated is not None and not 0 < stated <= FASTEST:
        raise UserError(f"--fps is {stated:g}; give the frames per second, more than 0 and at most {FASTEST}.")
    rates = {episode.frames_per_second for episode in episodes}
    if stated is not None:
        known = rates - {None}
        odd = [rate for rate in known if not math.isclose(rate, stated, rel_tol=0.01)]
        if odd:
            raise UserError(f"--fps is {stated:g}, but the episodes say {odd[0]:g} themselves; leave --fps out.")
        rates = known or {stated}
    if None in rates:
        raise UserError("the frame rate of the episodes is unknown; give --fps, or RoboTwin's --save-freq.")
    if len(rates) > 1:
        raise UserError(
            f"the episodes differ in frame rate ({sorted(rates)}); a LeRobot data set has one: export apart."
        )
    return float(rates.pop())


def write_lerobot(
    recordings: Iterable[Recording], root: Path, *, rate: float, pictures: str = "video", robot: str | None = None
) -> int:
    """Write a data set, whole or not at all; returns the number of episodes.

    Args:
        recordings: what to write, in order, with their sentences; they share cameras, picture size and joints.
        root: folder to write; must be absent or empty.
        rate: frames per second of the recordings.
        pictures: video (H.264, small) or image (PNG in the rows, exact).
        robot: its name; None takes what the episodes say, or unknown.

    Raises:
        UserError: if the folder is not empty, or a recording differs from the first in cameras, size or joints.
    """
    if pictures not in PICTURES:
        raise UserError(f"pictures '{pictures}' is not one of {', '.join(PICTURES)}.")
    written = _Written()
    with draft_folder(root) as draft:
        _write_episodes(recordings, draft, written, rate, pictures)
        _write_meta(draft, written, rate, pictures, robot)
    return len(written.episodes)


def _write_episodes(recordings: Iterable[Recording], root: Path, written: _Written, rate: float, pictures: str) -> None:
    with ExitStack() as stack:
        data = stack.enter_context(RollingTable(root, DATA_PATH, DATA_FILE_MB))
        videos: dict[str, RollingVideo] = {}
        for recording in recordings:
            features = describe_features(recording, rate, pictures)
            if written.features and features != written.features:
                raise UserError(
                    f"{recording.main.source} differs from the first episode in cameras, picture size or joints; "
                    f"export such episodes into data sets of their own."
                )
            for key, feature in features.items():
                if feature["dtype"] == "video" and key not in videos:
                    path = VIDEO_PATH.replace("{video_key}", key)
                    videos[key] = stack.enter_context(RollingVideo(root, path, VIDEO_FILE_MB, Fraction(rate)))
            written.features = features
            _append(recording, written, data, videos, rate)
    if not written.episodes:
        raise UserError("there are no episodes to export.")


def describe_features(recording: Recording, rate: float, pictures: str) -> dict[str, dict]:
    """The `features` of info.json."""
    features = {}
    for camera, episode in recording.views.items():
        height, width, channels = episode.read_frame(0).shape
        feature = {
            "dtype": pictures,
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
        }
        if pictures == "video":
            feature["info"] = {
                "video.height": height,
                "video.width": width,
                "video.codec": CODEC.removeprefix("lib").replace("x264", "h264"),
                "video.pix_fmt": PIXELS,
                "video.is_depth_map": False,
                "video.fps": whole_number(rate),
                "video.channels": channels,
                "has_audio": False,
            }
        features[CAMERA_PREFIX + camera] = feature
    for name, (table, names) in _tables(recording.main.joints).items():
        features[name] = {"dtype": "float32", "shape": [table.shape[1]], "names": names}
    for name, kind in COUNTERS.items():
        features[name] = {"dtype": "float32" if kind == pa.float32() else "int64", "shape": [1], "names": None}
    return features


def _tables(joints: Joints) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Feature => its table (T, D) and D column names: those that the episode gives, else of joints."""
    given = {
        STATE: (joints.states, joints.state_names),
        ACTION: (joints.actions, joints.action_names),
        ANGLES: (joints.angles, None),
    }
    tables = {}
    for feature, (table, names) in given.items():
        if table is not None:
            count = table.shape[1]
            is_named = names is not None and len(names) == count
            tables[feature] = (table, list(names) if is_named else [f"joint_{number}" for number in range(count)])
    return tables


def whole_number(rate: float) -> int | float:
    """LeRobot writes its rate as an integer where it is one."""
    return int(rate) if float(rate).is_integer() else rate


def _append(
    recording: Recording, written: _Written, data: RollingTable, videos: dict[str, RollingVideo], rate: float
) -> None:
    episode, index = recording.main, len(written.episodes)
    task_index = written.tasks.setdefault(recording.instruction, len(written.tasks))
    frame_index = np.arange(episode.length)
    columns = {
        "timestamp": (frame_index / rate).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(episode.length, index),
        "index": frame_index + written.rows,
        "task_index": np.full(episode.length, task_index),
    }
    stats = {name: measure_stats(values.reshape(-1, 1)) for name, values in columns.items()}
    arrays = {name: pa.array(values, COUNTERS[name]) for name, values in columns.items()}
    for name, (table, _) in _tables(episode.joints).items():
        stats[name] = measure_stats(table)
        arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(table.astype(np.float32).ravel()), table.shape[1])
    places = {}
    for camera, view in recording.views.items():
        key = CAMERA_PREFIX + camera
        sample = []
        frames = (_sampled(frame, t, sample) for t, frame in enumerate(view.frames()))
        if key in videos:
            place = videos[key].write(frames)
            places |= {f"videos/{key}/{name}": value for name, value in place.items()}
        else:
            arrays[key] = pa.array([{"bytes": encode_picture(frame, "png"), "path": None} for frame in frames], PICTURE)
        stats[key] = measure_picture_stats(sample)
    places |= {f"data/{name}": value for name, value in data.write(pa.table(arrays)).items()}
    written.episodes.append(
        {
            "episode_index": index,
            "tasks": [recording.instruction],
            "length": episode.length,
            **places,
            "dataset_from_index": written.rows,
            "dataset_to_index": written.rows + episode.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
    )
    written.sources.append(
        {"episode_index": index, "task": episode.task, "number": episode.number, "save_freq": episode.save_freq}
    )
    written.stats.append(stats)
    written.rows += episode.length
    written.robots.add(episode.notes.get("robot_type") or UNKNOWN_ROBOT)


def _sampled(frame: np.ndarray, index: int, sample: list[np.ndarray]) -> np.ndarray:
    """The frame itself; every tenth is also kept for the statistics."""
    if index % STATS_STRIDE == 0:
        sample.append(frame)
    return frame


def _write_meta(root: Path, written: _Written, rate: float, pictures: str, robot: str | None) -> None:
    merged = {name: merge_stats([stats[name] for stats in written.stats]) for name in written.features}
    _write_tasks(root / "meta" / "tasks.parquet", written.tasks)
    rows = [
        row
        | {f"stats/{name}/{kind}": value.tolist() for name, values in stats.items() for kind, value in values.items()}
        for row, stats in zip(written.episodes, written.stats, strict=True)
    ]
    (root / EPISODES_FILE).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / EPISODES_FILE)
    write_jsonl(root / SOURCES, written.sources)
    write_json(
        root / "meta" / "stats.json",
        {name: {kind: value.tolist() for kind, value in values.items()} for name, values in merged.items()},
    )
    write_json(
        root / INFO,
        {
            "codebase_version": "v3.0",
            "robot_type": robot or (written.robots.pop() if len(written.robots) == 1 else UNKNOWN_ROBOT),
            "total_episodes": len(written.episodes),
            "total_frames": written.rows,
            "total_tasks": len(written.tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": whole_number(rate),
            "splits": {"train": f"0:{len(written.episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if pictures == "video" else None,
            "features": written.features,
        },
    )


def _write_tasks(path: Path, tasks: dict[str, int]) -> None:
    """Sentence => task_index, with the sentence as pandas index, as lerobot reads it."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    columns = [
        {
            "name": "task_index",
            "field_name": "task_index",
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        },
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def measure_stats(values: np.ndarray) -> Stats:
    """Statistics over the first axis of (N, ...)."""
    values = values.astype(np.float64)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }


def measure_picture_stats(pictures: Sequence[np.ndarray]) -> Stats:
    """Statistics per colour of uint8 (H, W, 3) pictures, in [0, 1], each of shape (3, 1, 1); count is of pictures."""
    pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255.0
    stats = {name: value.reshape(3, 1, 1) for name, value in measure_stats(pixels).items() if name != "count"}
    return {**stats, "count": np.array([len(pictures)])}


def merge_stats(parts: Sequence[Stats]) -> Stats:
    """Statistics of all values together, from those of disjoint parts."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    shape = (len(parts), *(1 for _ in parts[0]["mean"].shape))
    weights = (counts / counts.sum()).reshape(shape)
    means, deviations = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    mean = (weights * means).sum(axis=0)
    # Variance of the whole = mean variance within the parts + variance of their means.
    variance = (weights * (deviations**2 + (means - mean) ** 2)).sum(axis=0)
    return {
        "min": np.stack([part["min"] for part in parts]).min(axis=0),
        "max": np.stack([part["max"] for part in parts]).max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
