"""The prepared folder: the one contract between dataset_tools, training, prediction and metrics.

    <folder>/0000000/000000_0.jpg   the current frame          InstructPix2Pix layout (arXiv 2211.09800)
    <folder>/0000000/000000_1.jpg   the frame `horizon` later
    <folder>/0000000/prompt.json    {"edit": instruction}
    <folder>/seeds.json             [["0000000", ["000000"]], ...]
    <folder>/index.jsonl            one FramePair a line: what InstructPix2Pix's layout cannot say
    <folder>/dataset.json           sources, counts, options of the preparation

A folder without index.jsonl (somebody's InstructPix2Pix data set) is read as well; then task, episode and
rate are unknown, and the split follows InstructPix2Pix: by position in seeds.json, 90 / 5 / 5.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from commands.errors import MissingFileError, UserError
from formats.atomic import write_json, write_text

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
POSITION_SPLITS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}  # edit_dataset.py of InstructPix2Pix
PICTURE_SUFFIXES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True)
class FramePair:
    """One (current frame, instruction, future frame) of a prepared folder."""

    pair_id: str  # "<task>/<episode>/<source>-<target>", or "<sample>/<seed>" where no index.jsonl says more
    sample: str  # folder of the sample, "0000000"
    seed: str  # stem of its pictures, "000000"
    instruction: str
    suffix: str = ".jpg"
    split: str | None = None  # train | val | test
    task: str | None = None
    episode: int | None = None
    source_index: int | None = None  # frame numbers in the episode
    target_index: int | None = None
    frames_per_second: float | None = None
    origin: str | None = None  # path or name of the episode that it came from
    split_rule: str | None = None  # episode | leaky (by pair: tables made from it must say so) | position

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


def write_manifest(folder: Path, pairs: Iterable[FramePair], description: dict) -> None:
    """Write seeds.json, index.jsonl and dataset.json for pairs whose pictures are already there.

    index.jsonl is renamed into place last: a folder that has it is whole.
    """
    pairs = list(pairs)
    seeds: dict[str, list[str]] = {}
    for pair in pairs:
        seeds.setdefault(pair.sample, []).append(pair.seed)
    write_json(Path(folder) / "seeds.json", [[sample, names] for sample, names in seeds.items()])
    write_json(Path(folder) / "dataset.json", description)
    lines = (json.dumps(asdict(pair), ensure_ascii=False) for pair in pairs)
    write_text(Path(folder) / "index.jsonl", "".join(line + "\n" for line in lines))


def read_manifest(folder: Path, split: str | None = None) -> list[FramePair]:
    """Pairs of a prepared folder, in the order of index.jsonl (or of seeds.json, or of the folder names).

    Args:
        folder: a prepared folder or an InstructPix2Pix data set.
        split: train, val or test; None takes all.

    Raises:
        FileNotFoundError: if the folder is absent or holds no pairs.
        ValueError: if a line of the index is malformed or the split has no pairs.
    """
    folder = Path(folder)
    if split is not None and split not in SPLITS:
        raise UserError(f"split '{split}' is not one of {', '.join(SPLITS)}.")
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}.\n{_how_to_make(folder)}")
    pairs = _read_index(folder) if (folder / "index.jsonl").is_file() else _read_instruct_pix2pix(folder)
    if not pairs:
        raise MissingFileError(
            f"no frame pairs in {folder}: neither index.jsonl nor <sample>/<seed>_0.jpg.\n{_how_to_make(folder)}"
        )
    chosen = [pair for pair in pairs if split is None or pair.split == split]
    if not chosen:
        raise UserError(
            f"{folder} has no pairs in split '{split}': its {len(pairs)} pairs are in "
            f"{', '.join(sorted({str(pair.split) for pair in pairs}))}. Prepare it again with more episodes."
        )
    return chosen


def _how_to_make(folder: Path) -> str:
    return f"Make it with: python -m dataset_tools.prepare_dataset --episodes <folder> --output {folder}"


def _read_index(folder: Path) -> list[FramePair]:
    known = {field.name for field in fields(FramePair)}
    pairs = []
    # Not splitlines(): a sentence may hold U+2028 and other line ends that are letters to JSON.
    for number, line in enumerate(_read_text(folder / "index.jsonl").rstrip("\n").split("\n"), start=1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            pairs.append(FramePair(**{name: value for name, value in entry.items() if name in known}))
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise UserError(
                f"{folder / 'index.jsonl'}, line {number} is not a frame pair ({error}). Prepare the folder again."
            ) from error
    return pairs


def _read_instruct_pix2pix(folder: Path) -> list[FramePair]:
    """Pairs of a folder that knows no episodes; split by position, as InstructPix2Pix does."""
    seeds_file = folder / "seeds.json"
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


def _read_seeds(path: Path) -> list[tuple[str, list[str]]]:
    """Samples and their seeds: [["0000000", ["000000"]]], or, as one project writes it, [{"name": .., "seed": ..}]."""
    samples = []
    try:
        for entry in json.loads(_read_text(path)):
            name, seeds = (entry["name"], entry["seed"]) if isinstance(entry, dict) else entry
            samples.append((str(name), [seeds] if isinstance(seeds, str) else [str(seed) for seed in seeds]))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path} is not [["0000000", ["000000"]], ...] ({error}). Prepare the folder again.') from error
    return samples


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}). Prepare the folder again.") from error


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


def _read_prompt(path: Path) -> str:
    """Instruction of a sample: key `edit`, as InstructPix2Pix reads it."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["edit"])
    except (FileNotFoundError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f'{path} holds no instruction under the key \'edit\' ({type(error).__name__}). Write {{"edit": "..."}}.'
        ) from error
