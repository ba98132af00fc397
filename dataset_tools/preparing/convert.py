"""Episodes => prepared folder: convert episode by episode, then finish.

    plan = plan_folder(episodes, options, roots)       pure: dataset_tools.preparing.plan
    convert_part(plan.parts[k], folder, options)       stateless per episode: pictures, then .parts/<k>.json
    finish_folder(plan, folder, options)               all parts there => seeds.json, dataset.json, index.jsonl

A part file is written last: an episode that has one is complete, any other is converted again. Resuming needs nothing
else, after a kill at any moment, with any number of workers, on one machine or on many.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.preparing.plan import Options, Part, Plan, describe
from formats.atomic import check_value, read_json, write_json, write_text
from formats.pictures import check_frame, encode_picture, resize_square
from formats.positions import positions_at, write_positions
from formats.prepared_folder import DESCRIPTION, INDEX, FramePair, write_manifest

PARTS = ".parts"  # this or INDEX marks a prepared folder, begun or whole
SAMPLED_BYTES = 16 * 1024  # read at the start, the middle and the end
RECORDED = (".pkl", ".hdf5", ".h5", ".npz", ".jpg", ".jpeg", ".png", ".mp4", ".parquet")
MEND = "delete it and run the same command again"
MARKER = Path(PARTS) / "plan.json"  # what a folder was begun from; .parts is removed when it is whole


@dataclass(frozen=True)
class _PartRecord:
    """A part file: for each pair its fields and the digests of its pictures; target positions by pair id."""

    pairs: list[dict]
    dropped: int
    positions: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def convert_part(part: Part, folder: Path, options: Options) -> None:
    """Write the pictures and sentences of one episode, then its part file. Safe to repeat.

    Raises:
        UserError: if a frame is damaged or of another size than the first.
    """
    pairs = part.pairs
    if options.drop_static:
        motions = measure_motions(part.episode, pairs)
        pairs = tuple(pair for pair, motion in zip(pairs, motions, strict=True) if motion >= options.drop_static)
    wanted: dict[int, list[Path]] = {}
    for pair in part.pairs:
        shutil.rmtree(folder / pair.sample, ignore_errors=True)
    for pair in pairs:
        sample = folder / pair.sample
        sample.mkdir(parents=True)
        (sample / "prompt.json").write_text(
            json.dumps({"edit": pair.instruction}, ensure_ascii=False), encoding="utf-8"
        )
        wanted.setdefault(pair.source_index, []).append(pair.source_path(folder))
        wanted.setdefault(pair.target_index, []).append(pair.target_path(folder))
    digests = _write_frames(part.episode, wanted, options)
    lines = [{"pair": vars(pair), "digest": [digests[pair.source_index], digests[pair.target_index]]} for pair in pairs]
    known = part.episode.read_positions()
    positions = {pair.pair_id: positions_at(known, pair.target_index) for pair in pairs} if known else {}
    record = {"pairs": lines, "dropped": len(part.pairs) - len(pairs), "positions": positions}
    write_text(part_file(folder, part), json.dumps(record))


def measure_motions(episode: Episode, pairs: Sequence[FramePair]) -> list[float]:
    """Mean of |target - source| over pixels and channels of each pair, in 0..255; every frame is read once."""
    targets = {index: [p for p in pairs if p.target_index == index] for index in {p.target_index for p in pairs}}
    last_use = {pair.source_index: pair.target_index for pair in sorted(pairs, key=lambda pair: pair.target_index)}
    kept: dict[int, np.ndarray] = {}
    motions: dict[str, float] = {}
    for index in sorted(targets.keys() | last_use.keys()):
        frame = episode.read_frame(index).astype(np.int16)
        for pair in targets.get(index, ()):
            motions[pair.pair_id] = float(np.abs(frame - kept[pair.source_index]).mean())
        kept = {source: pixels for source, pixels in kept.items() if last_use[source] > index}
        if index in last_use:
            kept[index] = frame
    return [motions[pair.pair_id] for pair in pairs]


def part_file(folder: Path, part: Part) -> Path:
    """Where a converted episode is recorded."""
    return folder / PARTS / f"{part.position:07d}.json"


def pending_parts(plan: Plan, folder: Path) -> list[Part]:
    """Parts that are not converted yet."""
    return [part for part in plan.parts if not part_file(folder, part).is_file()]


def open_folder(plan: Plan, folder: Path) -> bool:
    """Begin, or go on with, a prepared folder; True if it is whole already.

    Raises:
        UserError: if the folder holds something else, or was made from files that have changed since.
    """
    marker = folder / MARKER
    stamp = stamp_sources(_source_files(plan))
    if (folder / INDEX).is_file():
        whole = _recorded(folder / DESCRIPTION)
        if whole.get("fingerprint") != plan.fingerprint:
            raise UserError(
                f"{folder} holds a data set made from other episodes or options; delete it or choose another --output."
            )
        _check_sources(whole, stamp, folder)
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        return True
    begun = _recorded(marker)
    if marker.is_file() and begun.get("fingerprint") != plan.fingerprint:
        raise UserError(f"{folder} was begun from other episodes or options; delete it or choose another --output.")
    _check_sources(begun, stamp, folder)
    if not marker.is_file() and folder.is_dir() and any(child.name != PARTS for child in folder.iterdir()):
        raise UserError(f"{folder} is not empty and no prepared folder; choose another --output.")
    write_json(marker, {"fingerprint": plan.fingerprint, "parts": len(plan.parts), "sources_sha256": stamp})
    return False


def _source_files(plan: Plan) -> Iterator[Path]:
    """Where each episode was recorded, and the video that it is read from where that lies elsewhere."""
    for part in plan.parts:
        yield part.episode.source
        if (path := getattr(part.episode.read_frame, "path", None)) is not None:
            yield path


def _check_sources(recorded: dict, stamp: str, folder: Path) -> None:
    if recorded.get("sources_sha256") not in (None, stamp):  # folders made before it was recorded stay valid
        raise UserError(
            f"the episodes' files have changed since {folder} was made from them; delete it or choose another --output."
        )


def finish_folder(plan: Plan, folder: Path, options: Options) -> dict:
    """Write the manifest from the part files, then remove them; returns what dataset.json says.

    Raises:
        UserError: if episodes are still to be converted.
    """
    missing = pending_parts(plan, folder)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(plan.parts)} episodes are not converted yet, the first is "
            f"{missing[0].episode.source}; run the command again without --merge."
        )
    content = hashlib.sha256()
    pairs: list[FramePair] = []
    positions: dict[str, dict[str, list[float]]] = {}
    dropped = 0
    for part in plan.parts:
        path = part_file(folder, part)
        record = read_json(path, _PartRecord, mend=MEND)
        dropped += record.dropped
        positions |= record.positions
        for line in record.pairs:
            pairs.append(check_value(line.get("pair"), FramePair, where=str(path), mend=MEND))
            content.update(json.dumps(line, sort_keys=True).encode("utf-8"))
    if not pairs:
        raise UserError(f"all {dropped} pairs are static; lower --drop-static.")
    whole = {
        "tool": "dataset_tools.prepare_dataset",
        "version": _tool_version(),
        "fingerprint": plan.fingerprint,
        "sources_sha256": _recorded(folder / MARKER).get("sources_sha256"),
        "content_sha256": content.hexdigest(),
        "pairs": len(pairs),
        "counts": count_pairs(pairs),
        "skipped_without_target": plan.skipped,
        "dropped_static": dropped,
        "split": options.split.kind,
        "options": describe(options),
        "sources": _describe_sources(plan),
    }
    if positions:
        write_positions(folder, positions)
    write_manifest(folder, pairs, whole)
    shutil.rmtree(folder / PARTS)
    return whole


def count_pairs(pairs: Sequence[FramePair]) -> dict[str, dict[str, int]]:
    """Task => split => number of pairs."""
    counts = Counter((pair.task or "unknown", pair.split or "none") for pair in pairs)
    table: dict[str, dict[str, int]] = {}
    for (task, split), number in sorted(counts.items()):
        table.setdefault(task, {})[split] = number
    return table


def _write_frames(episode: Episode, wanted: dict[int, list[Path]], options: Options) -> dict[int, str]:
    """Encode each wanted frame once, write it to its first place, link it to the others; frame => SHA-256."""
    digests = {}
    shape = None
    for index in sorted(wanted):
        frame = check_frame(episode.read_frame(index), where=f"frame {index} of {episode.source}", shape=shape)
        shape = frame.shape
        content = encode_picture(resize_square(frame, options.size), options.picture_format, options.quality)
        digests[index] = hashlib.sha256(content).hexdigest()
        first, *others = wanted[index]
        first.write_bytes(content)
        for other in others:
            _link(first, other, content)
    return digests


def _link(existing: Path, other: Path, content: bytes) -> None:
    try:
        os.link(existing, other)
    except OSError:  # no hard links on this file system, or too many to one file
        other.write_bytes(content)


def _tool_version() -> str:
    try:
        return metadata.version("frame-prediction")
    except metadata.PackageNotFoundError:
        return "not installed"


def _recorded(path: Path) -> dict:
    """Content of dataset.json or of the marker; empty if it does not exist."""
    try:
        return read_json(path)
    except UserError:
        return {}


def _describe_sources(plan: Plan) -> dict[str, dict]:
    table: dict[str, dict] = {}
    for part in plan.parts:
        episode = part.episode
        entry = table.setdefault(
            episode.task, {"episodes": 0, "frames": 0, "camera": episode.camera, "save_freq": episode.save_freq}
        )
        entry["episodes"] += 1
        entry["frames"] += episode.length
    return table


def stamp_sources(sources: Iterable[Path]) -> str:
    """SHA-256 over the files of the sources (files or folders), each once; a missing one counts as empty.

    A cheap way to tell whether recorded files are still the same. Modification times are ignored: a copy on another
    machine is the same recording.

    For a folder: names and sizes of all files, and sampled bytes of the first, the middle and the last.
    """
    stamp = hashlib.sha256()
    for source in dict.fromkeys(sources):
        files = [source] if source.is_file() else sorted(_files_below(source))
        for path in files:
            stamp.update(f"{path.relative_to(source).as_posix()} {path.stat().st_size}\n".encode())
        for position in sorted({0, len(files) // 2, len(files) - 1} if files else ()):
            stamp.update(_sample(files[position]))
    return stamp.hexdigest()


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of recordings; not those in hidden folders or a prepared folder, which may lie among them."""
    for place, folders, names in os.walk(folder):
        if INDEX in names or PARTS in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place) / name for name in names if name.lower().endswith(RECORDED))
        yield from (path for path in paths if path.is_file())  # a pipe would be waited for


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        parts = []
        for start in (0, (size - SAMPLED_BYTES) // 2, size - SAMPLED_BYTES):
            file.seek(max(0, start))
            parts.append(file.read(SAMPLED_BYTES))
    return b"".join(parts)
