"""The predictions folder: the contract between prediction and metrics; anybody's predictions can be measured.

   <folder>/<pair id>.png        the predicted frame
   <folder>/spread/<pair id>.png where it was made of several samples: the prediction is their mean, this grey
                                 picture their standard deviation, see SPREAD_GAIN
   <folder>/predictions.jsonl    one record a pair: pair_id, file, instruction, seed, hashes of picture and weights,
                                 steps, scales, seconds, peak_memory_mib (of the GPU where there is one, else of the
                                 process, until then), and on what it was predicted
   <folder>/benchmark.json       time and memory of a prediction
   <folder>/records/<i>.jsonl    records of process i, while several processes fill the folder

All reading and writing of such folders is done here. PIL and the standard library.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from commands.errors import UserError
from formats.atomic import atomic_path, check_name, read_jsonl, write_jsonl

RECORDS = "predictions.jsonl"
BENCHMARK = "benchmark.json"
SHARES = "records"  # folder of the records of several processes
METADATA_KEY = "prediction"  # text chunk of a written PNG
MEND = "delete the line or the file"
# Settings that a record names only where they were given; older records have none of them.
OPTIONAL = ("first_stage", "first_stage_sha256", "neighbours", "neighbours_sha256", "engine", "samples", "chain")
SPREAD = "spread"  # folder of maps
SPREAD_GAIN = 2  # a map's grey level over the spread in grey levels of a colour, root of the mean square of all three


def picture_path(folder: Path, pair_id: str) -> Path:
    """Where the prediction of a pair lies.

    Raises:
        UserError: if the id would leave the folder.
    """
    return Path(folder) / f"{check_name(pair_id, 'the pair id')}.png"


def spread_path(folder: Path, pair_id: str) -> Path:
    """Where the map of a pair lies that shows where its samples differ."""
    return picture_path(Path(folder) / SPREAD, pair_id)


def save_picture(path: Path, picture: Image.Image, record: Mapping[str, Any]) -> None:
    """Write a picture; a PNG also stores its record as text, to show how it was made."""
    with atomic_path(path) as draft:
        if path.suffix.lower() == ".png":
            info = PngInfo()
            info.add_itxt(METADATA_KEY, json.dumps(dict(record), ensure_ascii=False))
            picture.save(draft, pnginfo=info)
        else:
            picture.save(draft)


def write_records(folder: Path, records: Iterable[Mapping[str, Any]], share: int | None = None) -> None:
    """Write predictions.jsonl anew, or the records of one of several processes, whole or not at all."""
    write_jsonl(Path(folder) / (RECORDS if share is None else f"{SHARES}/{share}.jsonl"), map(dict, records))


def join_records(folder: Path, order: Iterable[str] = ()) -> None:
    """Put the records of several processes into predictions.jsonl, those of `order` first; nothing without any."""
    shares = sorted((Path(folder) / SHARES).glob("*.jsonl"))
    if not shares:
        return
    records = read_records(folder)
    first = {name: records[name] for name in order if name in records}
    write_records(folder, (first | records).values())
    for share in shares:
        share.unlink()
    shares[0].parent.rmdir()


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Records of a predictions folder by pair id, the last of a pair counts; empty where there are none.

    Raises:
        UserError: if a line is damaged, or names a file outside the folder.
    """
    files = (Path(folder) / RECORDS, *sorted((Path(folder) / SHARES).glob("*.jsonl")))
    records: dict[str, dict[str, Any]] = {}
    for path in files:
        if path.exists():
            records |= _read_file(path)
    return records


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
    records = {}
    for record in read_jsonl(path, dict[str, Any], mend=MEND):
        pair_id, file = record.get("pair_id"), record.get("file")
        if not isinstance(pair_id, str) or not isinstance(file, str | None):
            raise UserError(f"{path} has a record without a pair_id or with a file that is no name; {MEND}.")
        if file is not None:
            check_name(file, f"{path}: the file of {pair_id},")
        records[pair_id] = record
    return records


def resume_records(folder: Path, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Records of an earlier, interrupted call, all of which have to agree with the settings.

    Raises:
        UserError: if the folder was made with other settings; it is never mixed.
    """
    records = read_records(folder)
    wanted = {**dict.fromkeys(OPTIONAL), **settings}
    for record in records.values():
        other = next((name for name, value in wanted.items() if record.get(name) != value), None)
        if other is not None:
            raise UserError(
                f"{Path(folder) / RECORDS} was made with {other}={record.get(other)}, now it is {wanted[other]}; "
                "choose another --output."
            )
    return records
