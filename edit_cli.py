"""Predicts the future frame for a picture, a folder of pictures, or a prepared data set.

    python edit_cli.py --input frame.png --edit "stack blocks"
    python edit_cli.py --input frame.png --edit "stack blocks" --rollout 4 --video future.gif
    python edit_cli.py --input frame.png --edit "stack blocks" --sweep
    python edit_cli.py --input frames/ --edit "stack blocks" --output predictions/
    python edit_cli.py --input data/prepared --split test --output predictions/
    python edit_cli.py --input data/prepared --output predictions/ --frames 15 --video 15_frames.mp4
    python edit_cli.py --input data/prepared --output upper_bound/ --reconstruction

Without --ckpt the small bundled model predicts. Too little changes: raise --cfg-text or lower --cfg-image, say it in
other words, try other seeds. Nothing imports this file.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from commands.errors import BAD_INPUT, MissingFileError, UserError, sentence_for
from formats.prepared_folder import FramePair, read_manifest
from prediction.request import check_flags, check_overwrites, check_reconstruction, check_truths, is_data_set

log = logging.getLogger("edit_cli")

BUNDLED = Path(__file__).resolve().parent / "bundled_model" / "model.safetensors"
INTERRUPTED = 130  # exit code, as a shell gives it to a program stopped by Ctrl-C
OUT_OF_MEMORY = "lower --batch-size or --resolution, or give --tiny-decoder"
DEFAULT_SWEEP = "1,3,5,7.5x1,1.25,1.5,2"
DEFAULT_RATE = 5.0  # frames per second of videos whose data do not say
SAMPLERS = ("ddim", "euler_ancestral", "dpm_solver")
SPACINGS = ("trailing", "leading", "linspace")
PRECISIONS = ("fp32", "bf16", "fp16")


def make_parser() -> argparse.ArgumentParser:
    """Flags, named as InstructPix2Pix's edit_cli names them."""
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
    _add_model_flags(parser.add_argument_group("model").add_argument)
    _add_sampling_flags(
        parser.add_argument_group("sampling; defaults are those of the checkpoint's config").add_argument
    )
    _add_mode_flags(parser.add_argument_group("what is predicted and shown").add_argument)
    return parser


def _add_model_flags(add: Callable) -> None:
    add("--ckpt", type=Path, default=BUNDLED, help="weights; default: the bundled small model")
    add("--config", type=Path, help="config; default: found beside the checkpoint")
    add("--resolution", type=int, help="side of the predicted square; default: the config's")
    add("--batch-size", type=int, default=16, help="frames predicted at once")
    add("--precision", choices=PRECISIONS, help="default: fp32 on a CPU, bf16 or fp16 on a GPU")
    add("--compile", action="store_true", help="torch.compile: minutes at first, pays for many frames on a GPU")
    add("--tiny-decoder", type=Path, help="TAESD's decoder instead of the model's own: quicker, a little softer")


def _add_sampling_flags(add: Callable) -> None:
    add("--steps", type=int, help="network calls for a frame")
    add("--cfg-text", type=float, help="guidance towards the instruction; 1 is none")
    add("--cfg-image", type=float, help="guidance towards the input frame; 1 is none")
    add(
        "--sampler", choices=SAMPLERS, help="euler_ancestral is InstructPix2Pix's; dpm_solver is good in 10 to 20 steps"
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
    add("--rollout", type=int, metavar="N", help="feed predictions back: N times the horizon; writes a strip")
    add("--sweep", nargs="?", const=DEFAULT_SWEEP, help=f"one sheet of text x image scales; {DEFAULT_SWEEP}")
    add("--reconstruction", action="store_true", help="of a data set: what the first stage makes of the *true* frames")
    add("--video", type=Path, help="mp4 or gif of input, prediction and, where it is known, truth")
    add("--fps", type=float, help=f"frames per second of the video; default: the data's, or {DEFAULT_RATE:g}")
    add("--colour-balance", action="store_true", help="give the prediction the input's colours; off by default")
    add("--sharpen", type=float, default=0.0, help="unsharp mask, 0.5 is mild; off by default")


def choose_pairs(opt: argparse.Namespace) -> list[FramePair]:
    """Pairs of a data set that --split, --episode, --frames and --limit leave.

    Raises:
        ValueError: if none is left.
    """
    split = opt.split or "test"
    pairs = read_manifest(opt.input, None if split == "all" else split)
    if opt.episode is not None:
        name = opt.episode.rstrip("/") + "/"
        wanted = [pair for pair in pairs if pair.pair_id.startswith(name)]
        if not wanted:
            raise UserError(f"--episode {opt.episode}: no pair of split '{split}' begins so; {pairs[0].pair_id} does.")
        pairs = wanted
    if opt.frames is not None:
        first = (pairs[0].task, pairs[0].episode)
        pairs = [pair for pair in pairs if (pair.task, pair.episode) == first]
        pairs = sorted(pairs, key=lambda pair: pair.source_index or 0)[: opt.frames]
    if opt.limit is not None and opt.limit < len(pairs):
        pairs = [pairs[i * len(pairs) // opt.limit] for i in range(opt.limit)]
    return pairs


def list_pictures(opt: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Pictures to predict from, and where the predictions go.

    Raises:
        ValueError, FileNotFoundError: if the input is nothing to predict from, or the instruction is missing.
    """
    from formats.pictures import PICTURE_SUFFIXES

    if opt.edit is None or not opt.edit.strip():
        raise UserError('--edit is empty; say what the robot does, such as --edit "stack blocks".')
    if opt.input.is_dir():
        found = sorted(path for path in opt.input.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        if not found:
            raise MissingFileError(f"no pictures in {opt.input}; wanted files ending in {', '.join(PICTURE_SUFFIXES)}.")
        output = opt.output or opt.input.with_name(opt.input.name + "_future")
        stems = [path.stem for path in found]
        names = [path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_") for path in found]
        pictures = [(path, output / f"{name}.png") for path, name in zip(found, names, strict=True)][: opt.frames]
        check_overwrites(found, [target for _, target in pictures], opt)
        return pictures
    if not opt.input.is_file():
        raise MissingFileError(f"there is no picture or folder {opt.input}.")
    target = opt.output or opt.input.with_name(f"{opt.input.stem}_future.png")
    if target.suffix.lower() not in PICTURE_SUFFIXES:
        target = target / f"{opt.input.stem}.png"
    check_overwrites([opt.input], [target], opt)
    return [(opt.input, target)]


def load(opt: argparse.Namespace):  # noqa: ANN201 - LoadedPredictor is imported late, so that --help is fast
    """The model of --config with the weights of --ckpt, ready to predict."""
    from prediction.load import load_predictor
    from stable_diffusion.checkpoint import load_pretrained, suggest_config

    return load_predictor(
        opt.ckpt,
        load_pretrained,
        suggest_config,
        config_path=opt.config,
        resolution=opt.resolution,
        precision=opt.precision,
        compiled=opt.compile,
        tiny_decoder=opt.tiny_decoder,
        steps=opt.steps,
        text_scale=opt.cfg_text,
        image_scale=opt.cfg_image,
        sampler=opt.sampler,
        spacing=opt.spacing,
        eta=opt.eta,
        rescale=opt.rescale,
        interval=tuple(opt.guide_between) if opt.guide_between else None,
    )


def memory_note() -> str:
    """Peak memory, for the end line."""
    from formats.provenance import peak_memory_mib

    return f"peak memory {peak_memory_mib()} MiB"


def show_progress(steps: Iterable, what: str, total: int) -> Iterable:
    """The steps themselves, with a bar on the error stream where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(steps, what, total=total, console=console, transient=True, disable=not console.is_terminal)


def step_bar(steps: Sequence[int]) -> Iterable:
    """Bar over the sampler's steps."""
    return show_progress(steps, "sampling", len(steps))


def run_pictures(opt: argparse.Namespace, loaded, postprocess, settings: dict) -> None:  # noqa: ANN001
    """One picture or a folder of them: predictions, rollouts, or a sheet of scales."""
    from prediction import drawings as modes
    from prediction.dataset import Job, predict_batches

    jobs = [Job(str(source), source, opt.edit, target, opt.seed) for source, target in list_pictures(opt)]
    predictor, side = loaded.predictor, loaded.predictor.resolution
    if opt.sweep is not None:
        for job in jobs:
            sheet = modes.draw_sweep(predictor, job, modes.Sweep.parse(opt.sweep), postprocess, step_bar, opt.horizon)
            modes.save_picture(job.target, sheet, {"instruction": job.instruction, "seed": job.seed} | settings)
            print(f"{job.target} (sheet of guidance scales at {side}x{side}; {memory_note()})")
        return
    if opt.rollout is not None:
        rollouts = [modes.predict_rollout(predictor, job, opt.rollout, postprocess, step_bar) for job in jobs]
        for rollout in rollouts:
            folder = modes.write_rollout(rollout, loaded.horizon, settings)
            print(f"{rollout.job.target} (strip; the {opt.rollout} frames are in {folder}; {memory_note()})")
        write_movie(opt, modes.rollout_video(rollouts, loaded.horizon), DEFAULT_RATE)
        return
    batches = predict_batches(predictor, jobs, opt.batch_size, postprocess, step_bar, opt.horizon)
    for note in modes.write_pictures(batches, settings):
        log.info("%s", note)
    if len(jobs) > 1:
        print(f"{len(jobs)} predictions in {jobs[0].target.parent} ({memory_note()})")
    else:
        print(f"{jobs[0].target} (predicted at {side}x{side}, shown in the input's size; {memory_note()})")
    write_movie(opt, modes.comparison_video(jobs), DEFAULT_RATE)


def run_data_set(opt: argparse.Namespace, loaded, postprocess, settings: dict) -> None:  # noqa: ANN001
    """Pairs of a prepared data set, resumable."""
    from prediction import drawings as modes
    from prediction.dataset import jobs_of_pairs, predict_batches, predict_data_set
    from prediction.prediction_benchmark import BENCHMARK, describe_run, write_benchmark

    pairs = choose_pairs(opt)
    if opt.frames is not None and len(pairs) < opt.frames:
        log.info("--frames %d: the episode of %s has only %d pairs.", opt.frames, pairs[0].pair_id, len(pairs))
    check_truths(pairs, opt.horizon, loaded.horizon)
    jobs = jobs_of_pairs(pairs, opt.input, opt.output, opt.edit, opt.seed)

    def batches_of(todo: Sequence) -> Iterable:
        batches = predict_batches(loaded.predictor, todo, opt.batch_size, postprocess, horizon=opt.horizon)
        return show_progress(batches, "predicting", -(-len(todo) // opt.batch_size))

    there = predict_data_set(batches_of, jobs, opt.output, settings, describe_run(loaded, opt.batch_size))
    if there < len(jobs) or not (opt.output / BENCHMARK).is_file():
        write_benchmark(opt.output, loaded, settings)
    print(f"{len(jobs)} predictions in {opt.output} ({there} were there), {memory_note()}")
    steps = [str(pair.source_index) if pair.source_index is not None else "" for pair in pairs]
    write_movie(opt, modes.comparison_video(jobs, steps), pairs[0].frames_per_second or DEFAULT_RATE)


def run_reconstruction(opt: argparse.Namespace, loaded) -> None:  # noqa: ANN001
    """The true frames of a data set, through the first stage and back."""
    from prediction.dataset import jobs_of_pairs, predict_data_set
    from prediction.reconstruction import reconstruct_batches, reconstruction_settings

    def batches_of(todo: Sequence) -> Iterable:
        batches = reconstruct_batches(loaded.predictor, todo, opt.batch_size)
        return show_progress(batches, "reconstructing", -(-len(todo) // opt.batch_size))

    jobs = jobs_of_pairs(choose_pairs(opt), opt.input, opt.output, None, opt.seed)
    jobs = [replace(job, source=job.truth) for job in jobs]  # what is read
    there = predict_data_set(batches_of, jobs, opt.output, reconstruction_settings(loaded))
    print(f"{len(jobs)} reconstructions of the truth in {opt.output} ({there} were there)")


def write_movie(opt: argparse.Namespace, frames: Iterable, rate: float) -> None:
    """The video, where --video asks for one."""
    if opt.video is None:
        return
    from formats.video import write_video

    write_video(opt.video, frames, opt.fps or rate)
    print(opt.video)


def run(opt: argparse.Namespace) -> int:
    """Check, load, predict."""
    check_flags(opt)
    if opt.reconstruction:
        check_reconstruction(opt)
    of_data_set = is_data_set(opt.input)
    if of_data_set:
        if opt.output is None:
            raise UserError("a data set needs --output, the folder that the predictions go to.")
        choose_pairs(opt)
    else:
        list_pictures(opt)
    from prediction.postprocess import Postprocess

    postprocess = Postprocess(opt.colour_balance, opt.sharpen)
    loaded = load(opt)
    if opt.reconstruction:
        run_reconstruction(opt, loaded)
        return 0
    loaded.predictor.count_predictions(opt.horizon)  # refuses a horizon that the model cannot reach
    settings = loaded.settings() | {"postprocess": postprocess.names(), "horizon": opt.horizon}
    (run_data_set if of_data_set else run_pictures)(opt, loaded, postprocess, settings)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and turn what a user can mend into one sentence and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    opt = make_parser().parse_args(argv)
    try:
        return run(opt)
    except KeyboardInterrupt:
        again = "goes on where it was" if is_data_set(opt.input) else "begins anew"
        print(f"edit_cli.py: stopped; the same command {again}.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        sentence = sentence_for(error, OUT_OF_MEMORY)
        if sentence is None:
            raise
        print(f"edit_cli.py: {sentence}", file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
