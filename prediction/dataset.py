"""What is to be predicted, in batches, and the predictions folder of a prepared data set.

   <folder>/<pair id>.png        the predicted frame
   <folder>/predictions.jsonl    one line a pair: file, instruction, seed, hashes of picture and weights, steps,
                                 scales, seconds, peak_memory_mib (of the GPU where there is one, else of the
                                 process, until then), and on what it was predicted

The folder is taken up where an interrupted call left it; metrics reads it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from commands.errors import UserError
from formats.atomic import atomic_path, write_text
from formats.pictures import Picture, open_picture
from formats.prepared_folder import FramePair
from formats.provenance import peak_memory_mib
from ldm.data.pixels import array_to_tensor, tensor_to_array
from prediction.postprocess import Postprocess
from prediction.predictor import FramePredictor, Progress, seed_of

RECORDS = "predictions.jsonl"
SOURCE_DIGEST = "source_sha256"
METADATA_KEY = "prediction"  # text chunk of a written PNG


@dataclass(frozen=True)
class Job:
    """One frame to predict."""

    name: str  # pair id, or the picture's path
    source: Path
    instruction: str
    target: Path
    seed: int
    truth: Path | None = None  # the real future frame, where it is known


@dataclass(frozen=True)
class PredictedJob:
    """A job done."""

    job: Job
    opened: Picture
    frame: np.ndarray  # uint8 (S, S, 3)
    seconds: float


def jobs_of_pairs(pairs: Iterable[FramePair], folder: Path, output: Path, edit: str | None, seed: int) -> list[Job]:
    """One job a pair of a prepared folder; `edit` replaces the data's own instructions."""
    return [
        Job(
            pair.pair_id,
            pair.source_path(folder),
            pair.instruction if edit is None else edit,
            output / f"{pair.pair_id}.png",
            seed_of(pair.pair_id, seed),
            pair.target_path(folder),
        )
        for pair in pairs
    ]


def predict_batches(
    predictor: FramePredictor,
    jobs: Sequence[Job],
    batch_size: int,
    postprocess: Postprocess | None = None,
    progress: Progress | None = None,
    horizon: int | None = None,
) -> Iterator[list[PredictedJob]]:
    """Jobs in their order, `batch_size` at once; seconds are those of the batch over its frames.

    The horizon is in frames, see FramePredictor.predict.
    """
    for start in range(0, len(jobs), batch_size):
        batch = list(jobs[start : start + batch_size])
        begun = time.perf_counter()
        opened = [open_picture(job.source) for job in batch]
        frames = torch.stack([array_to_tensor(picture.squared(predictor.resolution)) for picture in opened])
        sentences, seeds = [job.instruction for job in batch], [job.seed for job in batch]
        predicted = predictor.predict(frames, sentences, seeds, horizon, progress=progress).cpu()
        if postprocess is not None:
            predicted = postprocess(predicted, frames)
        seconds = (time.perf_counter() - begun) / len(batch)
        arrays = [tensor_to_array(frame) for frame in predicted]
        yield [PredictedJob(*done, seconds) for done in zip(batch, opened, arrays, strict=True)]


def save_picture(path: Path, picture: Image.Image, record: dict[str, Any]) -> None:
    """Write a picture; a PNG carries its record as text, so that it can be told how it was made."""
    with atomic_path(path) as draft:
        if path.suffix.lower() == ".png":
            info = PngInfo()
            info.add_itxt(METADATA_KEY, json.dumps(record, ensure_ascii=False))
            picture.save(draft, pnginfo=info)
        else:
            picture.save(draft)


def predict_data_set(
    batches_of: Callable[[Sequence[Job]], Iterable[list[PredictedJob]]],
    jobs: Sequence[Job],
    folder: Path,
    settings: dict[str, Any],
    facts: dict[str, Any] | None = None,
) -> int:
    """Write <pair id>.png and predictions.jsonl; pairs that are done with the same settings are not done again.

    Args:
        batches_of: predicts jobs, batch by batch.
        jobs: all pairs.
        folder: where to.
        settings: what the predictions depend on.
        facts: what else records say, such as the device; another call may have others.

    Returns:
        How many of the jobs were there already.

    Raises:
        UserError: if the folder was made with other settings.
    """
    index = folder / RECORDS
    done = read_records(index, settings)
    todo = [job for job in jobs if not _is_done(job, done)]
    lines = {name: json.dumps(record, ensure_ascii=False) for name, record in done.items()}
    for batch in batches_of(todo):
        for item in batch:
            job = item.job
            file = job.target.relative_to(folder).as_posix()
            record = {"pair_id": job.name, "file": file, "instruction": job.instruction, "seed": job.seed}
            record |= {SOURCE_DIGEST: _digest(job.source)} | settings
            save_picture(job.target, Image.fromarray(item.frame), record)
            measured = {"seconds": round(item.seconds, 4), "peak_memory_mib": peak_memory_mib()}
            lines[job.name] = json.dumps(record | (facts or {}) | measured, ensure_ascii=False)
        write_text(index, "\n".join(lines.values()) + "\n")
    return len(jobs) - len(todo)


def _is_done(job: Job, done: dict[str, dict]) -> bool:
    """Whether it was predicted from the same picture, sentence and seed; older records do not know the picture."""
    record = done.get(job.name)
    if record is None or not job.target.is_file():
        return False
    same = (record["instruction"], record["seed"]) == (job.instruction, job.seed)
    return same and record.get(SOURCE_DIGEST) in (None, _digest(job.source))


def _digest(picture: Path) -> str | None:
    """Of the file's bytes; None where there is none, which is said when it is opened."""
    return hashlib.sha256(picture.read_bytes()).hexdigest() if picture.is_file() else None


def read_records(index: Path, settings: dict[str, Any]) -> dict[str, dict]:
    """Records of an earlier, interrupted call by pair id; empty where there was none.

    Raises:
        UserError: if it was made with other settings, or a line is damaged.
    """
    if not index.is_file():
        return {}
    records = {}
    for number, line in enumerate(index.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            records[record["pair_id"]] = record
            other = [name for name, value in settings.items() if record.get(name) != value]
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index}, line {number} is damaged ({error}); delete the line or the file.") from error
        if other:
            raise UserError(
                f"{index} was made with {other[0]}={record.get(other[0])}, now it is {settings[other[0]]}; "
                "choose another --output."
            )
    return records
