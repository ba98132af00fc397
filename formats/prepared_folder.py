"""Prepared pairs on disk: what dataset_tools write, and training, prediction and metrics read.

    <folder>/0000000/000000_0.jpg   the current frame          InstructPix2Pix layout (arXiv 2211.09800)
    <folder>/0000000/000000_1.jpg   the frame `horizon` later
    <folder>/0000000/prompt.json    {"edit": instruction}
    <folder>/seeds.json             [["0000000", ["000000"]], ...]
    <folder>/index.jsonl            one FramePair a line: what InstructPix2Pix's layout has no place for
    <folder>/dataset.json           sources, counts, options of the preparation

A folder without index.jsonl (somebody's InstructPix2Pix data set) is read as well; then task, episode and
rate are unknown, and the split follows InstructPix2Pix: by position in seeds.json, 90 / 5 / 5. If an index.csv with
the columns sample, task and episode (and src_frame, dst_frame) lies in it or beside it, `read_indexed` takes those.
"""

import csv
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from commands.errors import MissingFileError, UserError
from formats.atomic import check_name, read_json, read_jsonl, write_json, write_jsonl

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
POSITION_SPLITS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}  # edit_dataset.py of InstructPix2Pix
PICTURE_SUFFIXES = (".jpg", ".png", ".jpeg")
INDEX, SEEDS, DESCRIPTION = "index.jsonl", "seeds.json", "dataset.json"
INDEX_CSV = "index.csv"  # beside somebody's InstructPix2Pix data set
MEND = "prepare the folder again"
Sentence = Annotated[str, Meta(max_length=10_000)]
FrameNumber = Annotated[int, Meta(ge=0, le=10**9)]
Rate = Annotated[float, Meta(gt=0, le=1e6)]  # frames per second


@dataclass(frozen=True)
class FramePair:
    """One (current frame, instruction, future frame) of a prepared folder; types and limits are checked on reading."""

    pair_id: str  # "<task>/<episode>/<source>-<target>", or "<sample>/<seed>" where no index.jsonl says more
    sample: str  # folder of the sample, "0000000"
    seed: str  # stem of its pictures, "000000"
    instruction: Sentence
    suffix: Literal[".jpg", ".png", ".jpeg"] = ".jpg"
    split: Literal["train", "val", "test"] | None = None
    task: Annotated[str, Meta(max_length=1000)] | None = None
    episode: Annotated[int, Meta(ge=0)] | None = None
    source_index: FrameNumber | None = None  # frame numbers in the episode
    target_index: FrameNumber | None = None
    frames_per_second: Rate | None = None
    origin: Annotated[str, Meta(max_length=5000)] | None = None  # path or name of the episode that it came from
    split_rule: Annotated[str, Meta(max_length=100)] | None = None  # episode | leaky (tables must say so) | position

    @property
    def horizon(self) -> int | None:
        """Frames from source to target, where known."""
        if self.source_index is None or self.target_index is None:
            return None
        return self.target_index - self.source_index

    @property
    def horizon_seconds(self) -> float | None:
        """Seconds from source to target, where frame numbers and rate are known."""
        if self.horizon is None or not self.frames_per_second:
            return None
        return self.horizon / self.frames_per_second

    def source_path(self, folder: Path) -> Path:
        """Picture of the current frame."""
        return Path(folder) / self.sample / f"{self.seed}_0{self.suffix}"

    def target_path(self, folder: Path) -> Path:
        """Picture of the future frame."""
        return Path(folder) / self.sample / f"{self.seed}_1{self.suffix}"

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """Pictures of the current and the future frame."""
        return self.source_path(folder), self.target_path(folder)


def write_manifest(folder: Path, pairs: Iterable[FramePair], description: dict) -> None:
    """Write seeds.json, index.jsonl and dataset.json for pairs whose pictures are already there.

    index.jsonl is renamed into place last: a folder that has it is whole.
    """
    pairs = list(pairs)
    seeds: dict[str, list[str]] = {}
    for pair in pairs:
        seeds.setdefault(pair.sample, []).append(pair.seed)
    write_json(Path(folder) / SEEDS, [[sample, names] for sample, names in seeds.items()])
    write_json(Path(folder) / DESCRIPTION, description)
    write_jsonl(Path(folder) / INDEX, map(asdict, pairs))


def read_manifest(folder: Path, split: str | None = None) -> list[FramePair]:
    """Pairs of a prepared folder, in the order of index.jsonl (or of seeds.json, or of the folder names).

    Args:
        folder: a prepared folder or an InstructPix2Pix data set.
        split: train, val or test; None takes all.

    Raises:
        MissingFileError: if the folder is absent or holds no pairs.
        UserError: if an entry is malformed or leaves the folder, an id is there twice, or the split has no pairs.
    """
    folder = Path(folder)
    if split is not None and split not in SPLITS:
        raise UserError(f"split '{split}' is not one of {', '.join(SPLITS)}.")
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}.\n{_how_to_make(folder)}")
    index = folder / INDEX
    pairs = read_jsonl(index, FramePair, mend=MEND) if index.exists() else _read_instruct_pix2pix(folder)
    if not pairs:
        raise MissingFileError(
            f"no frame pairs in {folder}: neither index.jsonl nor <sample>/<seed>_0.jpg.\n{_how_to_make(folder)}"
        )
    _check_ids(pairs, folder)
    chosen = [pair for pair in pairs if split is None or pair.split == split]
    if not chosen:
        raise UserError(
            f"{folder} has no pairs in split '{split}': its {len(pairs)} pairs are in "
            f"{', '.join(sorted({str(pair.split) for pair in pairs}))}. Choose such a split, or prepare it again "
            "with more episodes."
        )
    return chosen


def data_root(folder: Path) -> Path:
    """Folder that holds the samples: `folder` itself, or its `pairs`."""
    folder = Path(folder)
    inner = folder / "pairs"
    return inner if inner.is_dir() and not (folder / INDEX).is_file() else folder


def read_indexed(folder: Path, split: str | None = None) -> list[FramePair]:
    """As `read_manifest`, of a folder or its `pairs`, with what an index.csv adds.

    Raises:
        UserError: also if a line of the index is wrong.
    """
    folder = data_root(folder)
    pairs = read_manifest(folder, split)
    index = next((path for path in (folder / INDEX_CSV, folder.parent / INDEX_CSV) if path.is_file()), None)
    if index is None or (folder / INDEX).is_file():
        return pairs
    with index.open(encoding="utf-8", newline="") as stream:
        entries = {entry.get("sample"): entry for entry in csv.DictReader(stream)}
    log.info("tasks and episodes are taken from %s.", index)
    return [_with_entry(pair, entries.get(pair.sample), index) for pair in pairs]


def _with_entry(pair: FramePair, entry: dict | None, index: Path) -> FramePair:
    if entry is None:
        return pair
    try:
        return replace(
            pair,
            task=entry["task"],
            episode=int(entry["episode"]),
            source_index=int(entry["src_frame"]) if entry.get("src_frame") else None,
            target_index=int(entry["dst_frame"]) if entry.get("dst_frame") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{index}, sample {pair.sample}: wanted the columns sample, task, episode (a number), got {entry}."
        ) from error


def _how_to_make(folder: Path) -> str:
    return f"Make it with: python -m dataset_tools.prepare_dataset --episodes <folder> --output {folder}"


def _check_ids(pairs: list[FramePair], folder: Path) -> None:
    """Refuse ids and samples that leave the folder or occur twice, since files are named by them."""
    seen = set()
    for pair in pairs:
        check_name(pair.pair_id, f"in {folder}, the pair_id")
        check_name(f"{pair.sample}/{pair.seed}", f"in {folder}, the picture")
        if pair.pair_id in seen:
            raise UserError(f"{folder} has the pair {pair.pair_id} twice; {MEND}.")
        seen.add(pair.pair_id)


def _read_instruct_pix2pix(folder: Path) -> list[FramePair]:
    """Pairs of a folder without episode information; split by position, as InstructPix2Pix does."""
    seeds_file = folder / SEEDS
    if seeds_file.is_file():
        samples = _read_seeds(seeds_file)
    else:
        samples = [(child.name, _seeds_of(child)) for child in sorted(folder.iterdir()) if child.is_dir()]
        samples = [(sample, seeds) for sample, seeds in samples if seeds]
    pairs = []
    for position, (sample, seeds) in enumerate(samples):
        split = _split_of_position(position, len(samples))
        instruction = _read_prompt(folder / sample / "prompt.json")
        for seed in seeds:
            suffix = _suffix_of(folder / sample, seed)
            pair_id = f"{sample}/{seed}"
            pairs.append(FramePair(pair_id, sample, seed, instruction, suffix, split, split_rule="position"))
    if pairs:
        log.info("%s has no index.jsonl: %d pairs, split by position; episodes are unknown.", folder, len(pairs))
    return pairs


Seeds = str | int | list[str | int]


@dataclass(frozen=True)
class _NamedSeeds:
    """An entry of seeds.json as one project writes it."""

    name: str
    seed: Seeds


def _read_seeds(path: Path) -> list[tuple[str, list[str]]]:
    """Samples and their seeds: [["0000000", ["000000"]]], or [{"name": "0000000", "seed": "000000"}]."""
    samples = []
    for entry in read_json(
        path, list[tuple[str, Seeds] | _NamedSeeds], mend=f'wanted [["0000000", ["000000"]]]; {MEND}'
    ):
        name, seeds = (entry.name, entry.seed) if isinstance(entry, _NamedSeeds) else entry
        samples.append((check_name(name), [str(seed) for seed in (seeds if isinstance(seeds, list) else [seeds])]))
    return samples


def _split_of_position(position: int, count: int) -> str:
    """Half-open intervals [floor(a n), floor(b n)) of the list, as EditDataset cuts it."""
    for split, (start, stop) in POSITION_SPLITS.items():
        if int(start * count) <= position < int(stop * count):
            return split
    return "test"


def _seeds_of(sample: Path) -> list[str]:
    return sorted(
        {p.stem.removesuffix("_0") for p in sample.iterdir() if p.stem.endswith("_0") and p.suffix in PICTURE_SUFFIXES}
    )


def _suffix_of(sample: Path, seed: str) -> str:
    for suffix in PICTURE_SUFFIXES:
        if (sample / f"{seed}_0{suffix}").is_file():
            return suffix
    raise MissingFileError(f"{sample / f'{seed}_0.jpg'} is named by seeds.json but absent. Prepare the folder again.")


@dataclass(frozen=True)
class _Prompt:
    """prompt.json, as InstructPix2Pix reads it."""

    edit: Sentence


def _read_prompt(path: Path) -> str:
    return read_json(path, _Prompt, mend='write {"edit": "the instruction"}').edit
