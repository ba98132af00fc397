"""A prepared data set through a model: predictions or reconstructions in batches, resumable, with time and memory.

Reconstructions are what the first stage alone makes of the true future frames (the posterior's mode, decoded again):
the upper bound of any prediction in its latents.
"""

import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import reduce
from PIL import Image
from torch import Tensor

from commands.errors import UserError
from formats.atomic import write_json
from formats.hashing import sha256_of_file
from formats.pictures import Picture, open_picture
from formats.predictions_folder import (
    BENCHMARK,
    SPREAD_GAIN,
    join_records,
    picture_path,
    resume_records,
    save_picture,
    spread_path,
    write_records,
)
from formats.prepared_folder import FramePair
from formats.provenance import describe_device, peak_memory_mib, read_commit
from ldm.data.neighbours import Episode
from ldm.data.pixels import array_to_tensor, tensor_to_array, to_signed, to_uint8
from prediction.load import LoadedPredictor
from prediction.postprocess import Postprocess
from prediction.predictor import SLACK, FramePredictor, Progress, sample_seeds, seed_of
from prediction.sharing import Share

log = logging.getLogger(__name__)

SOURCE_DIGEST = "source_sha256"
OF_FIRST_STAGE = (
    "precision", "resolution", "checkpoint", "checkpoint_sha256", "tiny_decoder", "tiny_decoder_sha256",
    "first_stage", "first_stage_sha256",
)  # fmt: skip
FRAMES = 15  # whose seconds papers on this task print
FACTS = ("batch_size", "device", "torch", "commit")


@dataclass(frozen=True)
class Job:
    """One frame to predict."""

    name: str  # pair id, or the picture's path
    source: Path
    instruction: str
    target: Path
    seed: int
    truth: Path | None = None  # the real future frame, where it is known
    episode: Episode | None = None  # that it is of
    seconds: float | None = None  # ahead, for models that take the time as an input; None takes the model's own


@dataclass(frozen=True)
class PredictedJob:
    """A job done."""

    job: Job
    opened: Picture
    frame: np.ndarray  # uint8 (S, S, 3)
    seconds: float
    spread: np.ndarray | None = None  # uint8 (S, S), of several samples whose mean the frame is; see SPREAD_GAIN
    views: dict[str, np.ndarray] = field(default_factory=dict)  # frames of other cameras, where the model knows some


class Made(NamedTuple):
    """What a batch becomes: uint8 (B, 3, S, S) frames, the spread (B, S, S) of their samples, other cameras' frames."""

    frames: Tensor
    spread: Tensor | None = None
    views: Mapping[str, Tensor] = {}


Batches = Callable[[Sequence[Job]], Iterable[list[PredictedJob]]]


def jobs_of_pairs(
    pairs: Iterable[FramePair], folder: Path, output: Path, edit: str | None, seed: int, *, timed: bool = False
) -> list[Job]:
    """One job a pair of a prepared folder; `edit` replaces the data's own instructions, `timed` tells its seconds."""
    return [
        Job(
            pair.pair_id,
            pair.source_path(folder),
            pair.instruction if edit is None else edit,
            picture_path(output, pair.pair_id),
            seed_of(pair.pair_id, seed),
            pair.target_path(folder),
            (pair.task, pair.episode),
            pair.horizon_seconds if timed else None,
        )
        for pair in pairs
    ]


def predict_batches(
    predictor: FramePredictor,
    jobs: Sequence[Job],
    batch_size: int,
    postprocess: Postprocess | None = None,
    progress: Progress = iter,
    horizon: int | None = None,
    *,
    chain: float | None = None,
    samples: int | None = None,
) -> Iterator[list[PredictedJob]]:
    """Jobs in their order, `batch_size` at once; the horizon is in frames, see FramePredictor.predict.

    Args:
        chain: seconds of one prediction; a job's time is reached by feeding predictions back.
        samples: the mean of so many predictions is the frame, their spread comes with it.
    """

    def predict(frames: Tensor, batch: Sequence[Job]) -> Made:
        sentences, seeds = [job.instruction for job in batch], [job.seed for job in batch]
        told = {"progress": progress, "episodes": [job.episode for job in batch]}
        known, views = [job.seconds for job in batch], {}
        times = None if None in known else known
        if chain is not None:
            counts = [count_links(job, chain) for job in batch]
            rolled = predictor.rollout(frames, sentences, seeds, max(counts), seconds=[chain] * len(batch), **told)
            drawn = rolled[[count - 1 for count in counts], range(len(batch))][None]
        elif samples is not None:
            many = zip(*(sample_seeds(seed, samples) for seed in seeds), strict=True)
            ahead = {"seconds": times, "drawn": True} | told
            drawn = torch.stack([predictor.predict(frames, sentences, own, horizon, **ahead) for own in many])
        else:
            main, views = predictor.predict_views(frames, sentences, seeds, horizon, seconds=times, **told)
            drawn = main[None]
        shown, spread = summarise_samples(drawn.cpu()) if samples else (drawn[0].cpu(), None)
        return Made(shown if postprocess is None else postprocess(shown, frames), spread, views)

    return _in_batches(jobs, batch_size, predictor.resolution, predict)


def summarise_samples(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 3, S, S) of samples (N, B, 3, S, S) uint8, and their spread (B, S, S), both uint8.

    The spread is the standard deviation in grey levels, mean square over colours, times SPREAD_GAIN.
    """
    values = drawn.float()
    spread = reduce(values.var(dim=0), "b c h w -> b h w", "mean").sqrt()
    return values.mean(dim=0).round().to(drawn.dtype), (SPREAD_GAIN * spread).round().clamp(max=255).to(drawn.dtype)


def count_links(job: Job, chain: float) -> int:
    """How many predictions of `chain` seconds reach the time of a job.

    Raises:
        UserError: if none do, or the data do not say the time.
    """
    count = 0 if job.seconds is None else round(job.seconds / chain)
    if not count or abs(count * chain - job.seconds) > SLACK:
        told = "no known time" if job.seconds is None else f"{job.seconds:g} s"
        raise UserError(f"--chain {chain:g}: {job.name} is {told} ahead, no multiple of it; choose another.")
    return count


def reconstruct_batches(
    predictor: FramePredictor, jobs: Sequence[Job], batch_size: int
) -> Iterator[list[PredictedJob]]:
    """Sources of jobs (here: the true future frames), encoded and decoded by the predictor's first stage."""
    stage = predictor.model.first_stage_model
    number = next((parameter.dtype for parameter in stage.parameters()), torch.get_default_dtype())

    @torch.inference_mode()
    def reconstruct(frames: Tensor, _: Sequence[Job]) -> Made:
        signed = to_signed(frames.to(predictor.device)).to(number)
        return Made(to_uint8(stage.decode(stage.encode(signed).mode())).cpu())

    return _in_batches(jobs, batch_size, predictor.resolution, reconstruct)


def _in_batches(
    jobs: Sequence[Job],
    batch_size: int,
    side: int,
    make: Callable[[Tensor, Sequence[Job]], Made],
) -> Iterator[list[PredictedJob]]:
    """What `make` makes of uint8 (B, 3, side, side) frames; seconds are those of the batch over its frames."""
    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        begun = time.perf_counter()
        opened = [open_picture(job.source) for job in batch]
        made = make(torch.stack([array_to_tensor(picture.squared(side)) for picture in opened]), batch)
        seconds = (time.perf_counter() - begun) / len(batch)
        arrays = [tensor_to_array(frame) for frame in made.frames]
        maps = [None] * len(batch) if made.spread is None else list(made.spread.numpy())
        views = [{c: tensor_to_array(view[row].cpu()) for c, view in made.views.items()} for row in range(len(batch))]
        yield [
            PredictedJob(job, picture, frame, seconds, spread, others)
            for job, picture, frame, spread, others in zip(batch, opened, arrays, maps, views, strict=True)
        ]


def predict_data_set(
    batches_of: Batches,
    jobs: Sequence[Job],
    folder: Path,
    settings: dict[str, Any],
    facts: dict[str, Any] | None = None,
    others: Iterable[Job] = (),
    share: Share | None = None,
    batch_size: int = 1,
) -> int:
    """Write a predictions folder; pairs that are done with the same settings are not done again.

    Args:
        batches_of: predicts jobs, batch by batch.
        jobs: all pairs.
        folder: where to.
        settings: what the predictions depend on.
        facts: what else records say, such as the device; another call may have others.
        others: further jobs of the same call whose predictions the folder may hold.
        share: this process's part of the jobs; None does all. Each process calls this with all jobs.
        batch_size: that `batches_of` takes, for sharing.

    Returns:
        How many of the jobs were there already.

    Raises:
        UserError: if the folder was made with other settings, another sentence or another seed.
    """
    share = share or Share()
    if share.first:
        join_records(folder)  # of processes that were stopped
    share.wait()
    records = resume_records(folder, settings)
    for job in (*others, *jobs) if records else ():
        _check_same_call(job, records.get(job.name), folder)
    open_jobs = [job for job in jobs if not _is_done(job, records.get(job.name))]
    todo = share.choose(open_jobs, batch_size)
    share.wait()  # nobody writes while others read
    done: dict[str, dict[str, Any]] = {}
    for batch in batches_of(todo):
        for item in batch:
            job = item.job
            file = job.target.relative_to(folder).as_posix()
            record = {"pair_id": job.name, "file": file, "instruction": job.instruction, "seed": job.seed}
            record |= {SOURCE_DIGEST: _digest(job.source)} | settings
            record |= {} if job.seconds is None else {"seconds_ahead": job.seconds}
            save_picture(job.target, Image.fromarray(item.frame), record)
            if item.spread is not None:
                save_picture(spread_path(folder, job.name), Image.fromarray(item.spread), record)
            measured = {"seconds": round(item.seconds, 4), "peak_memory_mib": peak_memory_mib()}
            done[job.name] = record | (facts or {}) | measured
        if share.alone:
            write_records(folder, (records | done).values())
        else:
            write_records(folder, done.values(), share.rank)
    share.wait()
    if share.first:
        join_records(folder, [job.name for job in jobs])
    return len(jobs) - len(open_jobs)


def _check_same_call(job: Job, record: dict[str, Any] | None, folder: Path) -> None:
    for name, value in (("instruction", job.instruction), ("seed", job.seed)):
        if record is not None and record.get(name) != value:
            raise UserError(
                f"{folder}: {job.name} was predicted with {name} {record.get(name)!r}, now it is {value!r}; choose "
                "another --output, or delete the folder."
            )


def _is_done(job: Job, record: dict[str, Any] | None) -> bool:
    """Whether it was predicted from the same picture; older records do not name the picture."""
    if record is None or not job.target.is_file():
        return False
    if record.get(SOURCE_DIGEST) in (None, _digest(job.source)):
        return True
    log.info("%s has changed since it was predicted from; it is predicted again.", job.source)
    return False


def _digest(picture: Path) -> str | None:
    """SHA-256 of a picture's file, None if it does not exist: opening it says so."""
    return sha256_of_file(picture) if picture.is_file() else None


def reconstruction_settings(loaded: LoadedPredictor) -> dict[str, Any]:
    """What a reconstruction depends on besides the truth; `reconstruction` tells metrics what the folder holds."""
    settings = loaded.settings()
    return {"reconstruction": True} | {name: settings[name] for name in OF_FIRST_STAGE if name in settings}


def describe_run(loaded: LoadedPredictor, batch_size: int) -> dict[str, Any]:
    """FACTS of a call, for its records: what seconds depend on and pictures do not."""
    device = describe_device(loaded.predictor.device)
    return dict(zip(FACTS, (batch_size, device, torch.__version__, read_commit()), strict=True))


def write_benchmark(folder: Path, loaded: LoadedPredictor, settings: dict[str, Any]) -> None:
    """Write benchmark.json from the records of a predictions folder that was made with these settings."""
    records = list(resume_records(folder, settings).values())
    write_json(folder / BENCHMARK, describe_benchmark(loaded, records))


def describe_benchmark(loaded: LoadedPredictor, records: Sequence[dict]) -> dict[str, Any]:
    """Parameters, median seconds a frame, peak memory, and on what, with what; null where older records do not say.

    A folder may be the work of several calls, on other devices or in other batches: the largest part with the same
    FACTS counts. Seconds are those of a batch over its frames, reading and resizing included, loading the model not.
    """
    options, parts = loaded.predictor.options, loaded.predictor.model.describe_parts()
    facts = Counter(_facts_of(record) for record in records).most_common(1)[0][0]
    records = [record for record in records if _facts_of(record) == facts]
    seconds = statistics.median(record["seconds"] for record in records)
    return {
        "parameters": f"{sum(parts.values()) / 1e6:.4g}M",
        "parameters_of": {part: f"{count / 1e6:.4g}M" for part, count in parts.items()},
        "seconds_a_frame": seconds,
        f"seconds_{FRAMES}_frames": round(FRAMES * seconds, 4),
        "peak_memory_mib": max((r["peak_memory_mib"] for r in records if "peak_memory_mib" in r), default=None),
        "num_frames": len(records),
        "steps": options.steps,
        "predictions_a_frame": loaded.predictor.count_predictions(records[0].get("horizon")),
        "sampler": options.sampler,
        "resolution": loaded.predictor.resolution,
        "precision": loaded.runtime.precision,
    } | dict(zip(FACTS, facts, strict=True))


def _facts_of(record: dict) -> tuple:
    return tuple(record.get(name) for name in FACTS)
