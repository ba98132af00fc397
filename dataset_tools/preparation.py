"""Episodes => prepared folder: plan everything, convert episode by episode, finish. Layer 1.

    plan_folder(episodes, options) -> Plan             pure but for the listing: every pair, its name and split
    convert_part(plan.parts[k], folder, options)       stateless per episode: pictures, then .parts/<k>.json
    finish_folder(plan, folder, ...)                   all parts there => seeds.json, dataset.json, index.jsonl

Sample numbers are fixed by the plan, so any number of workers, machines or restarts writes the same bytes. A part
file is written last: an episode that has one is whole, any other is begun anew. That is all that resuming needs.
"""

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from dataset_tools.episode import Episode, EpisodeError
from dataset_tools.instructions import SentenceRule, make_instruction
from dataset_tools.naming import name_episodes
from dataset_tools.pairing import PairingRule, make_pairs
from dataset_tools.pictures import JPEG_QUALITY, PICTURE_FORMATS, check_frame, encode_picture, resize_picture
from dataset_tools.splits import SplitRule, missing_splits, split_of_pair
from dataset_tools.stable_hash import stable_number
from ldm.data.atomic import write_json
from ldm.data.manifest import FramePair, write_manifest

log = logging.getLogger(__name__)

PARTS = ".parts"  # folder of what is done so far; removed when the prepared folder is whole
LAYOUT_VERSION = 1  # raise it when the same options would give other bytes


@dataclass(frozen=True)
class Options:
    """All that decides the bytes of a prepared folder, beside the episodes."""

    pairing: PairingRule
    split: SplitRule = field(default_factory=SplitRule)
    sentences: SentenceRule = field(default_factory=SentenceRule)
    size: int | None = None  # pictures of size x size; None keeps the recording's
    picture_format: str = "jpg"
    quality: int = JPEG_QUALITY
    drop_static: float = 0.0  # drop pairs whose frames differ by less than this mean of |difference|, of 255
    max_train_samples: int | None = None

    def __post_init__(self):
        if self.picture_format not in PICTURE_FORMATS:
            raise ValueError(f"picture format '{self.picture_format}' is not one of {', '.join(PICTURE_FORMATS)}.")
        if self.size is not None and self.size < 8:
            raise ValueError(f"--size {self.size} is too small for a picture; give at least 8, or keep.")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"--quality {self.quality} is not a JPEG quality; give 1 to 100.")


@dataclass(frozen=True)
class Part:
    """One episode and its pairs: the unit of work."""

    position: int  # in the plan
    episode: Episode
    pairs: tuple[FramePair, ...]


@dataclass(frozen=True)
class Plan:
    """What will be in the prepared folder."""

    parts: tuple[Part, ...]
    skipped: int  # pairs without a target frame
    fingerprint: str  # of episodes and options; two plans with one fingerprint give the same bytes

    @property
    def pairs(self) -> list[FramePair]:
        """Pairs of all parts, in order."""
        return [pair for part in self.parts for pair in part.pairs]


def plan_folder(episodes: Sequence[Episode], options: Options, roots: Sequence[Path]) -> Plan:
    """All pairs of the episodes, numbered, with split and sentence.

    Args:
        episodes: as find_episodes returns them.
        options: how to pair, split and write.
        roots: folders that the episodes were found in; origins are told relative to them.

    Raises:
        EpisodeError: if one episode is there twice or no pair is left.
    """
    planned = []
    skipped = 0
    for episode, name in zip(episodes, name_episodes(episodes), strict=True):
        pairs, lacking = _pairs_of_episode(episode, name, options, _origin(episode, roots))
        planned.append((episode, pairs))
        skipped += lacking
    kept = _train_samples(planned, options.max_train_samples)
    parts = []
    count = 0
    for position, (episode, pairs) in enumerate(planned):
        chosen = [pair for pair in pairs if kept is None or pair.split != "train" or pair.pair_id in kept]
        numbered = (_number(pair, count + offset) for offset, pair in enumerate(chosen))
        parts.append(Part(position, episode, tuple(numbered)))
        count += len(chosen)
    if not count:
        longest = max((episode.length for episode in episodes), default=0)
        raise EpisodeError(
            f"no pair fits: the longest of {len(episodes)} episodes has {longest} frames; give a shorter horizon."
        )
    _warn_of_missing_splits(parts, options.split)
    return Plan(tuple(parts), skipped, _fingerprint(parts, options))


def convert_part(part: Part, folder: Path, options: Options) -> None:
    """Write the pictures and sentences of one episode, then its part file. Safe to repeat.

    Raises:
        EpisodeError: if a frame is damaged or of another size than the first.
    """
    pairs = part.pairs
    if options.drop_static:
        pairs = tuple(pair for pair in pairs if measure_motion(part.episode, pair) >= options.drop_static)
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
    lines = [
        {"pair": asdict(pair), "digest": [digests[pair.source_index], digests[pair.target_index]]} for pair in pairs
    ]
    write_json(part_file(folder, part), {"pairs": lines, "dropped": len(part.pairs) - len(pairs)})


def measure_motion(episode: Episode, pair: FramePair) -> float:
    """Mean of |target - source| over pixels and channels, in 0..255."""
    source, target = (episode.read_frame(index).astype(np.int16) for index in (pair.source_index, pair.target_index))
    return float(np.abs(target - source).mean())


def part_file(folder: Path, part: Part) -> Path:
    """Where a converted episode is recorded."""
    return folder / PARTS / f"{part.position:07d}.json"


def pending_parts(plan: Plan, folder: Path) -> list[Part]:
    """Parts that are not converted yet."""
    return [part for part in plan.parts if not part_file(folder, part).is_file()]


def open_folder(plan: Plan, folder: Path) -> bool:
    """Begin, or go on with, a prepared folder; True if it is whole already.

    Raises:
        EpisodeError: if the folder holds something else.
    """
    marker = folder / PARTS / "plan.json"
    if (folder / "index.jsonl").is_file():
        if _recorded(folder / "dataset.json") != plan.fingerprint:
            raise EpisodeError(
                f"{folder} holds a data set made from other episodes or options; delete it or choose another --output."
            )
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        return True
    if marker.is_file() and _recorded(marker) != plan.fingerprint:
        raise EpisodeError(f"{folder} was begun from other episodes or options; delete it or choose another --output.")
    if not marker.is_file() and folder.is_dir() and any(child.name != PARTS for child in folder.iterdir()):
        raise EpisodeError(f"{folder} is not empty and no prepared folder; choose another --output.")
    write_json(marker, {"fingerprint": plan.fingerprint, "parts": len(plan.parts)})
    return False


def finish_folder(plan: Plan, folder: Path, options: Options) -> dict:
    """Write the manifest from the part files, then remove them; returns what dataset.json says.

    Raises:
        EpisodeError: if episodes are still to be converted.
    """
    missing = pending_parts(plan, folder)
    if missing:
        raise EpisodeError(
            f"{len(missing)} of {len(plan.parts)} episodes are not converted yet, the first is "
            f"{missing[0].episode.source}; run the command again without --merge."
        )
    content = hashlib.sha256()
    pairs: list[FramePair] = []
    dropped = 0
    for part in plan.parts:
        record = json.loads(part_file(folder, part).read_text(encoding="utf-8"))
        dropped += record["dropped"]
        for line in record["pairs"]:
            pairs.append(FramePair(**line["pair"]))
            content.update(json.dumps(line, sort_keys=True).encode("utf-8"))
    if not pairs:
        raise EpisodeError(f"all {dropped} pairs are static; lower --drop-static.")
    whole = {
        "tool": "dataset_tools.prepare_dataset",
        "version": _tool_version(),
        "fingerprint": plan.fingerprint,
        "content_sha256": content.hexdigest(),
        "pairs": len(pairs),
        "counts": count_pairs(pairs),
        "skipped_without_target": plan.skipped,
        "dropped_static": dropped,
        "split": options.split.kind,
        "options": describe(options),
        "sources": _describe_sources(plan),
    }
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


def describe(options: Options) -> dict:
    """The options as plain values for JSON."""
    table = asdict(options)
    table["split"]["holdout"] = sorted(options.split.holdout)
    return table


def _origin(episode: Episode, roots: Sequence[Path]) -> str:
    """Where an episode was found, without what differs between machines."""
    for root in roots:
        if episode.source.is_relative_to(root.absolute()):
            inside = episode.source.relative_to(root.absolute()).as_posix()
            return inside if len(roots) == 1 else f"{root.absolute().name}/{inside}"
    return episode.source.name


def _pairs_of_episode(episode: Episode, name: str, options: Options, origin: str) -> tuple[list[FramePair], int]:
    rate = episode.frames_per_second
    pairs = make_pairs(
        options.pairing, episode.length, task=episode.task, number=episode.number, frames_per_second=rate
    )
    planned = []
    for pair in pairs.found:
        pair_id = f"{name}/{pair.source_index}-{pair.target_index}"
        horizon = pair.target_index - pair.source_index
        planned.append(
            FramePair(
                pair_id=pair_id,
                sample="",
                seed="",
                instruction=make_instruction(options.sentences, episode, pair_id, horizon),
                suffix=f".{options.picture_format}",
                split=split_of_pair(options.split, episode.task, episode.number, pair_id),
                task=episode.task,
                episode=episode.number,
                source_index=pair.source_index,
                target_index=pair.target_index,
                frames_per_second=rate,
                origin=origin,
            )
        )
    return planned, pairs.skipped


def _train_samples(planned: Sequence[tuple[Episode, list[FramePair]]], limit: int | None) -> set[str] | None:
    """Names of the training pairs to keep: those with the smallest hashes; None keeps all."""
    if limit is None:
        return None
    names = [pair.pair_id for _, pairs in planned for pair in pairs if pair.split == "train"]
    return set(sorted(names, key=lambda name: stable_number("sample", name))[:limit])


def _number(pair: FramePair, number: int) -> FramePair:
    return replace(pair, sample=f"{number:07d}", seed=f"{number:06d}")


def _warn_of_missing_splits(parts: Sequence[Part], rule: SplitRule) -> None:
    missing = missing_splits(rule, ((pair.task, pair.split) for part in parts for pair in part.pairs))
    for task, splits in missing.items():
        log.warning(
            "%s has no pairs in %s: too few episodes. Record more, or name test episodes with --holdout.",
            task,
            " and ".join(splits),
        )


def _fingerprint(parts: Sequence[Part], options: Options) -> str:
    pairs = [asdict(pair) for part in parts for pair in part.pairs]
    cameras = [(part.episode.task, part.episode.number, part.episode.camera, part.episode.length) for part in parts]
    text = json.dumps([LAYOUT_VERSION, describe(options), cameras, pairs], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _write_frames(episode: Episode, wanted: dict[int, list[Path]], options: Options) -> dict[int, str]:
    """Encode each wanted frame once, write it to its first place, link it to the others; frame => SHA-256."""
    digests = {}
    shape = None
    for index in sorted(wanted):
        frame = check_frame(episode.read_frame(index), where=f"frame {index} of {episode.source}")
        shape = shape or frame.shape
        if frame.shape != shape:
            raise EpisodeError(
                f"frame {index} of {episode.source} is {frame.shape[1]}x{frame.shape[0]}, others are "
                f"{shape[1]}x{shape[0]}; an episode has one frame size, so remove this episode."
            )
        content = encode_picture(resize_picture(frame, options.size), options.picture_format, options.quality)
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


def _recorded(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        return None


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
