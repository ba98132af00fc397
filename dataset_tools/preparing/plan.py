"""Plan of a prepared folder: every pair with its number, split and sentence, before any writing.

Sample numbers are fixed here, so any number of workers, machines or restarts writes the same bytes.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.preparing.instructions import SentenceRule, make_instruction
from dataset_tools.preparing.pairing import PairingRule, make_pairs
from dataset_tools.preparing.splits import SplitRule, missing_splits, split_of_pair
from dataset_tools.readers.naming import name_episodes
from formats.atomic import check_name
from formats.hashing import stable_number
from formats.pictures import JPEG_QUALITY, PICTURE_FORMATS
from formats.prepared_folder import FramePair

log = logging.getLogger(__name__)

SMALLEST, LARGEST = 8, 8192  # pixels a side
LAYOUT_VERSION = 1  # raise it when the same options would give other bytes


@dataclass(frozen=True)
class Options:
    """Everything besides the episodes that determines the bytes of a prepared folder."""

    pairing: PairingRule
    split: SplitRule = field(default_factory=SplitRule)
    sentences: SentenceRule = field(default_factory=SentenceRule)
    size: int | None = None  # pictures of size x size; None keeps the recording's
    picture_format: str = "jpg"
    quality: int = JPEG_QUALITY
    drop_static: float = 0.0  # drop pairs whose frames differ by less than this mean of |difference|, of 255
    max_train_samples: int | None = None

    def __post_init__(self) -> None:
        if self.picture_format not in PICTURE_FORMATS:
            raise UserError(f"picture format '{self.picture_format}' is not one of {', '.join(PICTURE_FORMATS)}.")
        if self.size is not None and not SMALLEST <= self.size <= LARGEST:
            raise UserError(f"--size {self.size} is no size for a picture; give {SMALLEST} to {LARGEST}, or keep.")
        if not 0 <= self.drop_static <= 255:
            raise UserError(f"--drop-static {self.drop_static} is no difference of pictures; give 0 to 255.")
        if self.max_train_samples is not None and self.max_train_samples < 0:
            raise UserError(f"--max-train-samples {self.max_train_samples} is no count; give 0 or more.")
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality {self.quality} is not a JPEG quality; give 1 to 100.")


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
        episodes: as read_episodes returns them.
        options: how to pair, split and write.
        roots: folders that the episodes were found in; origins are relative to them.

    Raises:
        UserError: if one episode is there twice or no pair is left.
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
        raise UserError(
            f"no pair fits: the longest of {len(episodes)} episodes has {longest} frames; give a shorter horizon."
        )
    _warn_of_missing_splits(parts, options.split)
    return Plan(tuple(parts), skipped, _fingerprint(parts, options))


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
        pair_id = check_name(f"{name}/{pair.source_index}-{pair.target_index}", "the pair")
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
                split_rule=options.split.kind,
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
    # Without split_rule: it stands in the options already, and folders made before it stay valid.
    entered = {column.name for column in fields(FramePair)} - {"split_rule"}
    pairs = [{name: getattr(pair, name) for name in sorted(entered)} for part in parts for pair in part.pairs]
    cameras = [(part.episode.task, part.episode.number, part.episode.camera, part.episode.length) for part in parts]
    text = json.dumps([LAYOUT_VERSION, describe(options), cameras, pairs], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
