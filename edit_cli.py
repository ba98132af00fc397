"""Predicts the future frame for a picture, a folder of pictures, or a prepared data set.

    python edit_cli.py --input frame.png --edit "stack blocks"
    python edit_cli.py --input frame.png --edit "stack blocks" --rollout 4 --video future.gif
    python edit_cli.py --input frame.png --edit "stack blocks" --seconds 1 2 3 4 --video future.gif
    python edit_cli.py --input frame.png --edit "stack blocks" --samples 8 --uncertainty map.png
    python edit_cli.py --input frame.png --edit "stack blocks" --sweep
    python edit_cli.py --input frames/ --edit "stack blocks" --output predictions/
    python edit_cli.py --input data/prepared --split test --output predictions/
    python edit_cli.py --input data/prepared --output predictions/ --frames 15 --video 15_frames.mp4
    python edit_cli.py --input data/prepared --output upper_bound/ --reconstruction
    torchrun --nproc-per-node 4 edit_cli.py --input data/prepared --output predictions/

Without --ckpt the small bundled model predicts. Too little changes: raise --cfg-text or lower --cfg-image, say it in
other words, try other seeds. Nothing imports this file.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.errors import UserError
from commands.processes import is_first_process
from commands.run import run_command, show_progress
from ldm.models.diffusion.timesteps import SAMPLER_NAMES, SPACINGS

if TYPE_CHECKING:
    from prediction.dataset import Job
    from prediction.drawings import Rollout
    from prediction.load import LoadedPredictor
    from prediction.model_request import ModelRequest
    from prediction.postprocess import Postprocess
    from prediction.predictor import FramePredictor
    from prediction.request import DatasetRequest, PictureRequest, Request

log = logging.getLogger("edit_cli")

STOPPED = "stopped; the same command goes on where it was with a data set, and begins anew with pictures."
OUT_OF_MEMORY = "lower --batch-size or --resolution, or give --tiny-decoder"
DEFAULT_SWEEP = "1,3,5,7.5x1,1.25,1.5,2"
DEFAULT_RATE = 5.0  # frames per second of videos whose data do not say


def make_parser() -> argparse.ArgumentParser:
    """Flags, named as InstructPix2Pix's edit_cli names them."""
    from prediction.model_request import add_model_flags

    usage = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        prog="edit_cli.py",
        description=usage[0],
        epilog="examples:\n" + usage[1] + "\n\n" + usage[2].rpartition(" Nothing")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", type=Path, required=True, help="picture, folder of pictures, or prepared data set")
    add("--output", type=Path, help="picture or folder; default: beside the input, ending in _future")
    add("--edit", help='what the robot does, such as "stack blocks"; a data set brings its own')
    add("--seed", type=int, default=0, help="same seed, same picture")
    add = parser.add_argument_group("model").add_argument
    add_model_flags(add)
    add("--batch-size", type=int, default=16, help="frames predicted at once")
    _add_sampling_flags(
        parser.add_argument_group("sampling; defaults are those of the checkpoint's config").add_argument
    )
    _add_mode_flags(parser.add_argument_group("what is predicted and shown").add_argument)
    return parser


def _add_sampling_flags(add: Callable) -> None:
    add("--steps", type=int, help="network calls for a frame")
    add("--cfg-text", type=float, help="guidance towards the instruction; 1 is none")
    add("--cfg-image", type=float, help="guidance towards the input frame; 1 is none")
    add(
        "--sampler",
        choices=SAMPLER_NAMES,
        help="euler_ancestral is InstructPix2Pix's; dpm_solver is good in 10 to 20 steps",
    )
    add("--spacing", choices=SPACINGS, help="of timesteps; linspace with euler_ancestral is InstructPix2Pix's")
    add("--eta", type=float, help="noise added at each step, 0 to 1; default: the sampler's own")
    add("--rescale", type=float, help="0 to 1: less saturation under strong guidance")
    add("--guide-between", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide at these timesteps only")


def _add_mode_flags(add: Callable) -> None:
    add("--split", help="of a prepared data set: train, val, test (default) or all")
    add("--limit", type=int, help="at most so many pairs of a data set, spread evenly over it")
    add("--episode", help="of a data set: only pairs whose id begins so, such as block_handover/3")
    add("--frames", type=int, help="so many consecutive frames, of one episode or of a folder in its order")
    add("--horizon", type=int, help="frames ahead: the model's own, or a multiple by feeding predictions back")
    add("--seconds", type=float, nargs="+", metavar="S", help="ahead, each drawn directly; several make a strip")
    add("--rollout", type=int, metavar="N", help="feed predictions back: N times the horizon; writes a strip")
    add("--chain", type=float, metavar="S", help="of a data set: reach each pair's time by predictions of S seconds")
    add("--samples", type=int, metavar="N", help="N futures: their mean, then each; of a data set, the mean")
    add("--uncertainty", type=Path, metavar="MAP", help="picture of where the samples differ, bright where they do")
    add("--sweep", nargs="?", const=DEFAULT_SWEEP, help=f"one sheet of text x image scales; {DEFAULT_SWEEP}")
    add("--reconstruction", action="store_true", help="of a data set: what the first stage makes of the *true* frames")
    add("--video", type=Path, help="mp4 or gif of input, prediction and, where it is known, truth")
    add("--fps", type=float, help=f"frames per second of the video; default: the data's, or {DEFAULT_RATE:g}")
    add("--colour-balance", action="store_true", help="give the prediction the input's colours; off by default")
    add("--sharpen", type=float, default=0.0, help="unsharp mask, 0.5 is mild; off by default")


def step_bar(steps: Sequence[int]) -> Iterable:
    """Bar over the sampler's steps."""
    return show_progress(steps, "sampling", len(steps))


def memory_note() -> str:
    """Peak memory, for the end line."""
    from formats.provenance import peak_memory_mib

    return f"peak memory {peak_memory_mib()} MiB"


def sentence_sent(edit: str, loaded: "LoadedPredictor") -> str:
    """What is sent for --edit; said where it is not the same."""
    sentence = loaded.sentence(edit)
    if sentence != edit:
        log.info('sent as "%s", the form of the sentences that the model was trained on.', sentence)
    return sentence


def run_pictures(
    request: "PictureRequest", loaded: "LoadedPredictor", postprocess: "Postprocess", settings: dict[str, Any]
) -> None:
    """One picture or a folder of them: predictions, rollouts, or a sheet of scales."""
    from formats.predictions_folder import save_picture
    from prediction import drawings
    from prediction.dataset import Job, predict_batches

    sentence = sentence_sent(request.edit, loaded)
    ahead = request.seconds[0] if request.seconds else None
    jobs = [
        Job(str(source), source, sentence, target, request.seed, seconds=ahead) for source, target in request.pictures
    ]
    predictor, side = loaded.predictor, loaded.predictor.resolution
    if request.sweep is not None:
        for job in jobs:
            sheet = drawings.draw_sweep(predictor, job, request.sweep, postprocess, step_bar, request.horizon)
            save_picture(job.target, sheet, {"instruction": job.instruction, "seed": job.seed} | settings)
            print(f"{job.target} (sheet of guidance scales at {side}x{side}; {memory_note()})")
        return
    if request.is_series:
        series = [draw_series(request, predictor, job, postprocess, settings) for job in jobs]
        for one in series:
            folder = drawings.write_rollout(one, loaded.horizon, settings)
            print(f"{one.job.target} (strip; the {len(one.frames)} frames are in {folder}; {memory_note()})")
        write_movie(request, drawings.rollout_video(series, loaded.horizon), DEFAULT_RATE)
        return
    batches = predict_batches(predictor, jobs, request.batch_size, postprocess, step_bar, request.horizon)
    for note in drawings.write_pictures(batches, settings):
        log.info("%s", note)
    if len(jobs) > 1:
        print(f"{len(jobs)} predictions in {jobs[0].target.parent} ({memory_note()})")
    else:
        print(f"{jobs[0].target} (predicted at {side}x{side}, shown in the input's size; {memory_note()})")
    write_movie(request, drawings.comparison_video(jobs), DEFAULT_RATE)


def draw_series(
    request: "PictureRequest",
    predictor: "FramePredictor",
    job: "Job",
    postprocess: "Postprocess",
    settings: dict[str, Any],
) -> "Rollout":
    """Several frames of one picture: fed back, at several times, or several samples and, where asked, their map."""
    from formats.predictions_folder import save_picture
    from prediction import drawings

    if request.rollout is not None:
        return drawings.predict_rollout(predictor, job, request.rollout, postprocess, step_bar)
    if request.samples is None:
        return drawings.predict_futures(predictor, job, request.seconds, postprocess, step_bar)
    series, spread = drawings.predict_samples(predictor, job, request.samples, postprocess, step_bar)
    if request.uncertainty is not None:
        save_picture(request.uncertainty, drawings.resized(spread, series.size), settings)
        print(f"{request.uncertainty} (spread of {request.samples} samples, brightest {spread.max()} of 255)")
    return series


def run_data_set(
    request: "DatasetRequest", loaded: "LoadedPredictor", postprocess: "Postprocess", settings: dict[str, Any]
) -> None:
    """Pairs of a prepared data set, resumable."""
    from formats.predictions_folder import BENCHMARK
    from prediction import dataset, drawings
    from prediction.sharing import Share

    request.check_truths(loaded.horizon)
    sentence = None if request.edit is None else sentence_sent(request.edit, loaded)
    jobs, others = (
        dataset.jobs_of_pairs(
            pairs, request.input, request.output, sentence, request.seed, timed=loaded.predictor.takes_seconds
        )
        for pairs in (request.pairs, request.all_pairs)
    )

    several = {name: value for name in ("chain", "samples") if (value := getattr(request, name)) is not None}
    settings = settings | several

    def batches_of(todo: Sequence) -> Iterable:
        batches = dataset.predict_batches(
            loaded.predictor, todo, request.batch_size, postprocess, horizon=request.horizon, **several
        )
        return show_progress(batches, "predicting", -(-len(todo) // request.batch_size))

    facts, share = dataset.describe_run(loaded, request.batch_size), Share.of_launcher()
    there = dataset.predict_data_set(
        batches_of, jobs, request.output, settings, facts, others, share=share, batch_size=request.batch_size
    )
    if not share.first:
        return
    if there < len(jobs) or not (request.output / BENCHMARK).is_file():
        dataset.write_benchmark(request.output, loaded, settings)
    print(f"{len(jobs)} predictions in {request.output} ({there} were there), {memory_note()}")
    steps = [str(pair.source_index) if pair.source_index is not None else "" for pair in request.pairs]
    rate = request.pairs[0].frames_per_second or DEFAULT_RATE
    write_movie(request, drawings.comparison_video(jobs, steps), rate)


def run_reconstruction(request: "DatasetRequest", loaded: "LoadedPredictor") -> None:
    """The true frames of a data set, through the first stage and back."""
    from prediction.dataset import jobs_of_pairs, predict_data_set, reconstruct_batches, reconstruction_settings
    from prediction.sharing import Share

    def batches_of(todo: Sequence) -> Iterable:
        batches = reconstruct_batches(loaded.predictor, todo, request.batch_size)
        return show_progress(batches, "reconstructing", -(-len(todo) // request.batch_size))

    jobs = jobs_of_pairs(request.pairs, request.input, request.output, None, request.seed)
    jobs = [replace(job, source=job.truth) for job in jobs]  # what is read
    share, settings = Share.of_launcher(), reconstruction_settings(loaded)
    there = predict_data_set(batches_of, jobs, request.output, settings, share=share, batch_size=request.batch_size)
    if share.first:
        print(f"{len(jobs)} reconstructions of the truth in {request.output} ({there} were there)")


def write_movie(request: "Request", frames: Iterable, rate: float) -> None:
    """The video, where --video asks for one."""
    if request.video is None:
        return
    from formats.video import write_video

    write_video(request.video, frames, request.fps or rate)
    print(request.video)


def load(request: "ModelRequest") -> "LoadedPredictor":
    """The model of a request, ready to predict, on this process's own device."""
    from prediction.load import load_predictor
    from prediction.sharing import choose_own_device

    choose_own_device()
    return load_predictor(request)


def run(flags: dict[str, Any]) -> None:
    """Check, load, predict."""
    from prediction.model_request import ModelRequest
    from prediction.request import DatasetRequest, make_request

    request = make_request(flags)
    from prediction.postprocess import Postprocess
    from prediction.sharing import Share

    if not isinstance(request, DatasetRequest) and not Share.of_launcher().alone:
        raise UserError(
            f"{request.input} is no data set, whose pairs torchrun's processes could share; leave torchrun out."
        )
    postprocess = Postprocess(request.colour_balance, request.sharpen)
    loaded = load(ModelRequest.of(flags))
    if isinstance(request, DatasetRequest) and request.reconstruction:
        return run_reconstruction(request, loaded)
    loaded.predictor.count_predictions(request.horizon)  # refuses a horizon that the model cannot reach
    loaded.predictor.times(getattr(request, "seconds", None), 1)  # and a time
    if getattr(request, "chain", None) is not None:
        loaded.predictor.times([request.chain], 1)
    if request.samples is not None:
        loaded.predictor.check_samples()
    settings = loaded.settings() | {"postprocess": postprocess.names(), "horizon": request.horizon}
    if isinstance(request, DatasetRequest):
        return run_data_set(request, loaded, postprocess, settings)
    return run_pictures(request, loaded, postprocess, settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, and predict; see commands.run for how it ends."""

    def body() -> None:
        run(vars(make_parser().parse_args(argv)))

    level = logging.INFO if is_first_process() else logging.WARNING  # once is enough
    return run_command("edit_cli.py", body, interrupted=STOPPED, out_of_memory=OUT_OF_MEMORY, level=level)


if __name__ == "__main__":
    sys.exit(main())
