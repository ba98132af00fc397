"""Predicts the future frame for a picture, a folder of pictures, or a prepared data set.

    python edit_cli.py --input frame.png --edit "stack blocks"
    python edit_cli.py --input frames/ --edit "stack blocks" --output predictions/
    python edit_cli.py --input data/prepared --split test --output predictions/

Without --ckpt the small bundled model predicts. Nothing imports this file.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from ldm.data.atomic import atomic_path, write_text
from ldm.data.manifest import FramePair, read_manifest
from ldm.errors import BAD_INPUT, sentence_for
from ldm.util import ConfigError

log = logging.getLogger("edit_cli")

BUNDLED = Path(__file__).resolve().parent / "bundled_model" / "model.safetensors"
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
INTERRUPTED = 130  # exit code, as a shell gives it to a program stopped by Ctrl-C
MAX_RESOLUTION = 2048  # pixels; attention over more does not fit any GPU


def make_parser() -> argparse.ArgumentParser:
    """Flags, named as InstructPix2Pix's edit_cli names them."""
    usage = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        prog="edit_cli.py",
        description=usage[0],
        epilog="examples:\n" + usage[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--input", type=Path, required=True, help="picture, folder of pictures, or prepared data set")
    parser.add_argument("--output", type=Path, help="picture or folder; default: beside the input, ending in _future")
    parser.add_argument("--edit", help='what the robot does, such as "stack blocks"; a data set brings its own')
    parser.add_argument("--split", default="test", help="of a prepared data set: train, val, test (default) or all")
    parser.add_argument("--limit", type=int, help="at most so many pairs of a data set, spread evenly over it")
    parser.add_argument("--ckpt", type=Path, default=BUNDLED, help="weights; default: the bundled small model")
    parser.add_argument("--config", type=Path, help="config; default: found beside the checkpoint")
    parser.add_argument("--steps", type=int, help="sampler steps; default: the config's")
    parser.add_argument("--resolution", type=int, help="side of the predicted square; default: the config's")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same picture")
    parser.add_argument("--cfg-text", type=float, help="guidance towards the instruction; default: the config's")
    parser.add_argument("--cfg-image", type=float, help="guidance towards the input frame; default: the config's")
    parser.add_argument("--batch-size", type=int, default=16, help="frames predicted at once")
    return parser


@dataclass(frozen=True)
class Job:
    """One frame to predict."""

    name: str  # pair id, or the picture's path
    source: Path
    instruction: str
    target: Path
    seed: int


def load_predictor(opt: argparse.Namespace):  # noqa: ANN201 - FramePredictor is imported late, so that --help is fast
    """The model of --config with the weights of --ckpt, ready to predict."""
    import torch
    from stable_diffusion.checkpoint import load_pretrained, suggest_config

    from ldm.config import compose
    from ldm.predictor import FramePredictor, SamplingOptions
    from ldm.util import instantiate_from_config

    if not opt.ckpt.exists():
        raise FileNotFoundError(
            f"there is no checkpoint {opt.ckpt}; train one (python main.py --base configs/train.yaml --gpus 0), fetch "
            "one (python -m stable_diffusion.weights list), or leave --ckpt out for the bundled model."
        )
    path = opt.config or find_config(opt.ckpt)
    config = compose([path]) if path else suggest_config(opt.ckpt)
    model = instantiate_from_config(config["model"], "model")
    report = load_pretrained(model, opt.ckpt, use_ema=True)
    log.debug("%s", report)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    sampling = config["sampling"]
    options = SamplingOptions(
        steps=sampling["steps"] if opt.steps is None else opt.steps,
        text_scale=sampling["text_scale"] if opt.cfg_text is None else opt.cfg_text,
        image_scale=sampling["image_scale"] if opt.cfg_image is None else opt.cfg_image,
    )
    resolution = config["resolution"] if opt.resolution is None else opt.resolution
    if not 0 < resolution <= MAX_RESOLUTION:
        raise ValueError(f"--resolution {resolution} is outside 1 to {MAX_RESOLUTION}.")
    return FramePredictor(model.eval().to(device), resolution, options)


def find_config(checkpoint: Path) -> Path | None:
    """config.yaml beside a checkpoint, or that of the run folder it lies in."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    return None


def list_jobs(opt: argparse.Namespace) -> list[Job]:
    """What is to be predicted.

    Raises:
        ValueError, FileNotFoundError: if the input is nothing to predict from, or an instruction is missing.
    """
    if (opt.input / "index.jsonl").is_file() or (opt.input / "seeds.json").is_file():
        return _jobs_of_data_set(opt)
    if opt.edit is None or not opt.edit.strip():
        raise ValueError('--edit is empty; say what the robot does, such as --edit "stack blocks".')
    if opt.input.is_dir():
        pictures = sorted(path for path in opt.input.iterdir() if path.suffix.lower() in PICTURES)
        if not pictures:
            raise FileNotFoundError(f"no pictures in {opt.input}; wanted files ending in {', '.join(PICTURES)}.")
        output = opt.output or opt.input.with_name(opt.input.name + "_future")
        return [Job(str(p), p, opt.edit, output / f"{p.stem}.png", opt.seed) for p in pictures]
    if not opt.input.is_file():
        raise FileNotFoundError(f"there is no picture or folder {opt.input}.")
    target = opt.output or opt.input.with_name(f"{opt.input.stem}_future.png")
    if target.suffix.lower() not in PICTURES:
        target = target / f"{opt.input.stem}.png"
    return [Job(str(opt.input), opt.input, opt.edit, target, opt.seed)]


def _jobs_of_data_set(opt: argparse.Namespace) -> list[Job]:
    from ldm.predictor import seed_of

    if opt.output is None:
        raise ValueError("a data set needs --output, the folder that the predictions go to.")
    pairs = read_manifest(opt.input, None if opt.split == "all" else opt.split)
    if opt.limit is not None and opt.limit < len(pairs):
        if opt.limit < 1:
            raise ValueError(f"--limit {opt.limit}: wanted at least 1.")
        pairs = [pairs[i * len(pairs) // opt.limit] for i in range(opt.limit)]
    return [_job_of_pair(pair, opt, seed_of(pair.pair_id, opt.seed)) for pair in pairs]


def _job_of_pair(pair: FramePair, opt: argparse.Namespace, seed: int) -> Job:
    sentence = pair.instruction if opt.edit is None else opt.edit
    return Job(pair.pair_id, pair.source_path(opt.input), sentence, opt.output / f"{pair.pair_id}.png", seed)


def predict_batches(predictor, jobs: Sequence[Job], batch_size: int) -> Iterator[tuple[list[Job], list, float]]:  # noqa: ANN001
    """Batches of jobs with their predicted uint8 (S, S, 3) arrays and seconds a frame."""
    import torch

    from ldm.data.frame_pairs import read_picture
    from ldm.data.pixels import array_to_tensor, tensor_to_array

    for start in range(0, len(jobs), batch_size):
        batch = list(jobs[start : start + batch_size])
        begun = time.perf_counter()
        frames = torch.stack([array_to_tensor(read_picture(job.source, predictor.resolution)) for job in batch])
        predicted = predictor.predict(frames, [job.instruction for job in batch], [job.seed for job in batch])
        seconds = (time.perf_counter() - begun) / len(batch)
        yield batch, [tensor_to_array(frame) for frame in predicted], seconds


def predict_pictures(predictor, jobs: Sequence[Job], batch_size: int) -> None:  # noqa: ANN001
    """Write a prediction in the size of its input."""
    for batch, frames, _ in predict_batches(predictor, jobs, batch_size):
        for job, frame in zip(batch, frames, strict=True):
            with Image.open(job.source) as source:
                size = source.size
            with atomic_path(job.target) as draft:
                Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC).save(draft)
    side = predictor.resolution
    note = f"predicted at {side}x{side}, shown in the input's size"
    print(f"{len(jobs)} predictions in {jobs[0].target.parent}" if len(jobs) > 1 else f"{jobs[0].target} ({note})")


def predict_data_set(predictor, jobs: Sequence[Job], opt: argparse.Namespace) -> None:  # noqa: ANN001
    """Write <pair id>.png and predictions.jsonl; pairs that are done with the same settings are not done again."""
    from rich.console import Console
    from rich.progress import track

    settings = {
        **{k: v for k, v in asdict(predictor.options).items()},
        "sampler": "ddim",
        "resolution": predictor.resolution,
        "checkpoint": opt.ckpt.name,
        "checkpoint_sha256": _sha256(opt.ckpt),
    }
    index = opt.output / "predictions.jsonl"
    done = _read_done(index, settings)
    todo = [job for job in jobs if job.name not in done or not job.target.is_file()]
    lines = [json.dumps(record, ensure_ascii=False) for record in done.values()]
    batches = predict_batches(predictor, todo, opt.batch_size)
    total = -(-len(todo) // opt.batch_size)
    for batch, frames, seconds in track(
        batches, "predicting", total=total, console=Console(stderr=True), transient=True
    ):
        for job, frame in zip(batch, frames, strict=True):
            with atomic_path(job.target) as draft:
                Image.fromarray(frame).save(draft)
            file = job.target.relative_to(opt.output).as_posix()
            record = {"pair_id": job.name, "file": file, "instruction": job.instruction, "seed": job.seed}
            lines.append(json.dumps(record | settings | {"seconds": round(seconds, 4)}, ensure_ascii=False))
        write_text(index, "\n".join(lines) + "\n")
    print(f"{len(jobs)} predictions in {opt.output} ({len(jobs) - len(todo)} were there)")


def _read_done(index: Path, settings: dict) -> dict[str, dict]:
    """Records of an earlier, interrupted call.

    Raises:
        ConfigError: if it was made with other settings.
    """
    if not index.is_file():
        return {}
    records = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
    for record in records:
        other = [name for name, value in settings.items() if record.get(name) != value]
        if other:
            raise ConfigError(
                f"{index} was made with {other[0]}={record.get(other[0])}, now it is {settings[other[0]]}; "
                "choose another --output."
            )
    return {record["pair_id"]: record for record in records}


def _sha256(path: Path) -> str:
    if path.is_dir():
        return "folder"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(argv: Sequence[str] | None) -> int:
    """Parse, load, predict."""
    opt = make_parser().parse_args(argv)
    if opt.batch_size < 1:
        raise ValueError(f"--batch-size {opt.batch_size}: wanted at least 1.")
    jobs = list_jobs(opt)
    predictor = load_predictor(opt)
    if jobs[0].name == str(jobs[0].source):
        predict_pictures(predictor, jobs, opt.batch_size)
    else:
        predict_data_set(predictor, jobs, opt)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and turn what a user can mend into one sentence and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return run(argv)
    except KeyboardInterrupt:
        print("edit_cli.py: stopped; the same command goes on where it was.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        sentence = sentence_for(error)
        if sentence is None:
            raise
        print(f"edit_cli.py: {sentence}", file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
