"""Anybody's predictions: a folder of pictures, matched to the pairs that they predict.

A picture belongs to a pair, in this order, if

1. a csv with the columns pair_id (or sample) and file, or else predictions.jsonl (written by edit_cli), says so; where
   the picture that it names is absent, the pair has none;
2. its path without suffix is the pair id: block_handover/7/0-50.png;
3. its name is that of the InstructPix2Pix sample: 0000007.png, 0000007_pred.jpg, 0000007_000000.png,
   0000007/000000.png.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from commands.errors import MissingFileError, UserError
from formats.pictures import read_picture
from formats.predictions_folder import read_records, spread_path
from formats.prepared_folder import FramePair
from metrics.comparison.pairs import read_pairs
from metrics.comparison.resizing import file_stamp
from metrics.comparison.rows import BOUND_ENDING, MODEL, RECONSTRUCTION, UPPER_BOUND, Kind, check_row_name
from metrics.comparison.scoring import Candidate, Prediction

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")  # of predictions; a gif beside them is a video
NAME_ENDINGS = ("", "_pred", "_prediction", "_1")


@dataclass(frozen=True)
class Predictions(Candidate):
    """Pictures of one system, by pair."""

    name: str
    folder: Path
    files: dict[str, Path]  # by pair id
    missing: tuple[str, ...] = ()  # pair ids without a picture
    unmatched: tuple[str, ...] = ()  # pictures without a pair, relative to the folder
    records: dict[str, dict] = field(default_factory=dict)  # lines of predictions.jsonl by pair id
    kind: Kind = MODEL

    def identity(self, pair: FramePair) -> str | None:
        """The picture's path, bytes and time; None where there is no picture."""
        path = self.files.get(pair.pair_id)
        return None if path is None else str(file_stamp(path))

    def predict_picture(self, pair: FramePair, source: np.ndarray) -> Prediction | None:
        """The system's picture; None where it has none.

        Raises:
            UserError: if the picture cannot be read.
        """
        path = self.files.get(pair.pair_id)
        if path is None:
            return None
        picture = read_picture(path)
        return Prediction(picture.pixels, picture.notes, path)


def parse_named_folder(argument: str) -> tuple[str | None, Path]:
    """ "a=runs/x" => ("a", runs/x); "runs/x" => (None, runs/x). A folder that exists may have a "=" in its name."""
    name, found, folder = argument.partition("=")
    if not found or Path(argument).exists():
        return None, Path(argument)
    return name, Path(folder)


def parse_named_folders(arguments: Sequence[str]) -> dict[str, Path]:
    """Paths by name, of "[name=]path" arguments; one without a name is called after its last part.

    Raises:
        UserError: if a name stands for two.
    """
    named: dict[str, Path] = {}
    for argument in arguments:
        given, path = parse_named_folder(argument)
        name = given or path.name
        if name in named:
            raise UserError(f"{argument}: two are called {name}; give names of their own: NAME={path}.")
        named[name] = path
    return named


def match_all(
    arguments: Sequence[str], data: Path, pairs: list[FramePair], match_csv: Path | None = None
) -> list[Predictions]:
    """The systems of "[name=]folder" arguments, upper bounds first, beside the baselines.

    Raises:
        UserError: as `match_predictions`, or if a name is used twice or is a baseline's.
    """
    others = read_pairs(data) if arguments else []
    systems: dict[str, Predictions] = {}
    for argument in arguments:
        given, path = parse_named_folder(argument)
        system = _named(match_predictions(path, pairs, None, match_csv, others), given)
        if system.name in systems:
            raise UserError(
                f"two predictions folders are called '{system.name}': name them, --predictions a={path} b=..."
            )
        systems[system.name] = system
    return sorted(systems.values(), key=lambda system: system.kind != UPPER_BOUND)


def _named(system: Predictions, given: str | None) -> Predictions:
    """The system under its row's name; reconstructions of the truth (by edit_cli, or so named) are upper bounds."""
    reconstructs = bool(system.records) and all(entry.get("reconstruction") for entry in system.records.values())
    if not reconstructs and given != RECONSTRUCTION:
        return replace(system, name=check_row_name(given if given is not None else system.folder.resolve().name))
    return replace(system, name=check_row_name(f"{given or RECONSTRUCTION} {BOUND_ENDING}"), kind=UPPER_BOUND)


def match_predictions(
    folder: Path,
    pairs: Iterable[FramePair],
    name: str | None = None,
    match_csv: Path | None = None,
    others: Iterable[FramePair] = (),
) -> Predictions:
    """Find the picture of each pair.

    Args:
        folder: pictures in any depth of folders.
        pairs: what is to be scored.
        name: of the system; the folder's by default.
        match_csv: assigns pictures to pairs; columns pair_id (or sample) and file.
        others: further pairs of the data, whose pictures are not reported as unmatched (another split, say).

    Raises:
        MissingFileError: if the folder or the csv is absent, or the folder has no pictures.
        UserError: if not one picture matches, or the csv gives the pairs of a sample with several seeds one picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"no predictions folder {folder}. Make one with: python edit_cli.py --input <data> ...")
    pictures = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    }
    if not pictures:
        raise MissingFileError(f"no pictures in {folder}; wanted <pair_id>.png or <sample>.png.")
    records = read_records(folder)
    recorded = {pair_id: record["file"] for pair_id, record in records.items() if record.get("file")}
    listed = _read_match_csv(Path(match_csv)) if match_csv is not None else {}
    said = (listed, recorded)
    pairs = list(pairs)
    files = _match(pairs, pictures, said, folder)
    if not files:
        raise UserError(
            f"none of the {len(pictures)} pictures in {folder} matches one of the {len(pairs)} pairs: the first "
            f"picture is {next(iter(pictures))}, the first pair {pairs[0].pair_id} (sample {pairs[0].sample}); "
            "name them so, or give --match <csv with the columns pair_id,file>."
        )
    maps = {spread_path(folder, pair_id) for pair_id, record in records.items() if record.get("samples")}
    used = maps | set(files.values()) | set(_match(list(others), pictures, said, folder).values())
    return Predictions(
        name=name or folder.name,
        folder=folder,
        files=files,
        missing=tuple(pair.pair_id for pair in pairs if pair.pair_id not in files),
        unmatched=tuple(key for key, path in pictures.items() if path not in used),
        records=records,
    )


def _match(
    pairs: list[FramePair], pictures: dict[str, Path], said: tuple[dict[str, str], dict[str, str]], folder: Path
) -> dict[str, Path]:
    """Picture by pair id; `said` is what the csv and what predictions.jsonl say."""
    by_stem = {key[: -len(path.suffix)]: path for key, path in pictures.items()}
    seeds_of: dict[str, int] = {}
    for pair in pairs:
        seeds_of[pair.sample] = seeds_of.get(pair.sample, 0) + 1
    files = {}
    for pair in pairs:
        only_one = seeds_of[pair.sample] == 1
        name = _said_file(pair, only_one, *said)
        if name:
            path = pictures.get(Path(name).as_posix()) or (folder / name if (folder / name).is_file() else None)
        else:
            path = next((by_stem[stem] for stem in _stems(pair, only_one) if stem in by_stem), None)
        if path is not None:
            files[pair.pair_id] = path
    return files


def _said_file(pair: FramePair, only_one: bool, listed: dict[str, str], recorded: dict[str, str]) -> str | None:
    """The file that the csv, or else predictions.jsonl, names for a pair."""
    if pair.pair_id not in listed and pair.sample in listed and not only_one:
        raise UserError(
            f"--match gives all pairs of sample {pair.sample} the picture {listed[pair.sample]}, but it has several "
            f"seeds; give the column pair_id, such as {pair.pair_id}, instead of sample."
        )
    return listed.get(pair.pair_id) or listed.get(pair.sample) or recorded.get(pair.pair_id)


def _stems(pair: FramePair, only_one: bool) -> list[str]:
    """Names that a picture of this pair may have; the bare sample name only if the sample has one pair."""
    bases = [pair.pair_id, f"{pair.sample}/{pair.seed}", f"{pair.sample}_{pair.seed}"]
    bases += [pair.sample] if only_one else []
    return [base + ending for base in bases for ending in NAME_ENDINGS]


def _read_match_csv(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise MissingFileError(f"no file {path}; --match wants a csv with the columns pair_id (or sample) and file.")
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        columns = reader.fieldnames or []
        key = next((name for name in ("pair_id", "sample") if name in columns), None)
        if key is None or "file" not in columns:
            raise UserError(f"{path} has the columns {', '.join(columns)}; wanted pair_id (or sample) and file.")
        return {entry[key]: entry["file"] for entry in reader}
