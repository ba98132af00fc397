"""The command `python -m dataset_tools.simulate`: simulated episodes, written as RoboTwin does.

Exit codes: 0 done; 2 bad arguments; 3 no OpenGL to draw with; 130 interrupted.
"""

import argparse
import logging
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.errors import UserError
from commands.run import run_command, show_progress
from simulator.graphics import RendererUnavailable
from simulator.scene import CAMERAS, LOOKS
from simulator.tasks import TASKS

if TYPE_CHECKING:
    from dataset_tools.simulation import EpisodeReport, Settings

# MuJoCo is slow to import: what needs it is imported where it is used, so that --help and bad arguments answer at once.
NO_CAMERA = "none"
LAYOUTS = ("hdf5", "pkl")  # RoboTwin 2.0 and 1.0
NO_RENDERER = 3  # exit code
LOG_EVERY = 20  # episodes of a task

log = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_tools.simulate",
        description="Simulate robot episodes and write them as RoboTwin does. A run that was stopped goes on when the"
        " same command is given again.",
    )
    tasks, add = ("all", *TASKS), parser.add_argument
    add("--task", nargs="+", default=["all"], choices=tasks, metavar="TASK", help=f"{', '.join(tasks)} (default: all)")
    add("--episodes", type=_positive, default=30, metavar="N", help="per task (default: 30)")
    add("--output", type=Path, required=True, metavar="FOLDER")
    add("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    add("--layout", choices=LAYOUTS, default="hdf5", help="RoboTwin 2.0 or 1.0 (default: hdf5)")
    add(
        "--save-freq",
        type=_positive,
        default=50,
        metavar="STEPS",
        help="steps of 1/250 s per saved frame (default: 50, which is 5 frames/s, enough for pictures; a policy needs"
        " RoboTwin's own 15)",
    )
    add(
        "--cameras",
        nargs="+",
        default=["head"],
        choices=(*CAMERAS, NO_CAMERA),
        metavar="CAMERA",
        help=f"{', '.join(CAMERAS)} (default: head; left and right are the wrists), or {NO_CAMERA}: motion alone,"
        " a tenth of the time",
    )
    add(
        "--operator-noise",
        type=float,
        default=0.0,
        metavar="RAD",
        help="standard deviation of noise on the executed joint targets; the recorded actions stay clean, so that a"
        " policy learns to come back (default: 0; 0.01 for policies)",
    )
    add(
        "--draw-every",
        type=_positive,
        default=1,
        metavar="N",
        help="draw frames 0, N, 2N, ... only, those between repeat the last picture: more scenes in the same time for"
        " a policy, which begins its windows at drawn frames (default: 1)",
    )
    add(
        "--looks",
        nargs="+",
        default=["train"],
        choices=tuple(LOOKS),
        metavar="LOOK",
        help=f"light and tints, {', '.join(LOOKS)}: episode 0 has the first one, 1 the second, and so on in turn"
        " (default: train); unseen is for tests",
    )
    add("--first-seed", type=_not_negative, default=0, metavar="N", help="0 to 950: other seeds, other scenes")
    add("--first-episode", type=_not_negative, default=0, metavar="N", help="number of the first one: more scenes")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = make_parser().parse_args(argv)
    logging.getLogger("OpenGL").setLevel(logging.WARNING)  # it tells of an accelerator that is of no use here

    def run() -> int:
        try:
            _simulate(arguments)
        except RendererUnavailable as error:
            log.error("%s", error)
            return NO_RENDERER
        return 0

    return run_command("python -m dataset_tools.simulate", run)


def _simulate(arguments: argparse.Namespace) -> None:
    from dataset_tools.simulation import generate, plan_jobs, unfinished_jobs

    settings = make_settings(arguments)
    tasks = tuple(TASKS) if "all" in arguments.task else tuple(dict.fromkeys(arguments.task))
    jobs = plan_jobs(tasks, arguments.first_episode, arguments.episodes)
    todo = unfinished_jobs(jobs, settings)
    if len(todo) < len(jobs):
        log.info("%d of %d episodes are in %s already", len(jobs) - len(todo), len(jobs), settings.output)
    reports: list[EpisodeReport] = []
    done: Counter[str] = Counter()
    for report in show_progress(generate(todo, settings, arguments.workers), "episodes", len(todo)):
        reports.append(report)
        done[report.job.task] += 1
        if done[report.job.task] % LOG_EVERY == 0:
            log.info("%s: %d episodes", report.job.task, done[report.job.task])
    _log_summary(reports)


def make_settings(arguments: argparse.Namespace) -> "Settings":
    """What all episodes share, checked; the output folder is made."""
    from dataset_tools.simulation import (
        LARGEST_EPISODE,
        LARGEST_FIRST_SEED,
        LARGEST_NOISE,
        LARGEST_SAVE_FREQ,
        Settings,
    )

    if arguments.save_freq > LARGEST_SAVE_FREQ:
        raise UserError(f"--save-freq is {arguments.save_freq}, wanted 1 to {LARGEST_SAVE_FREQ} steps of 1/250 s")
    if arguments.first_seed > LARGEST_FIRST_SEED:
        raise UserError(
            f"--first-seed is {arguments.first_seed}, wanted 0 to {LARGEST_FIRST_SEED}, because seeds beyond belong to "
            "the next episode and would repeat its scenes: for more scenes give --first-episode"
        )
    last = arguments.first_episode + arguments.episodes - 1
    if last > LARGEST_EPISODE:
        raise UserError(
            f"the last episode would be {last}, wanted {LARGEST_EPISODE} at most: later ones are kept to test policies"
        )
    noise = arguments.operator_noise
    if not (math.isfinite(noise) and 0 <= noise <= LARGEST_NOISE):
        raise UserError(f"--operator-noise is {noise}, wanted 0 to {LARGEST_NOISE} rad; 0.01 is good for policies")
    if noise and arguments.layout == "pkl":
        raise UserError("--operator-noise needs --layout hdf5: RoboTwin 1.0's pickles hold one action, not two")
    cameras = tuple(camera for camera in CAMERAS if camera in arguments.cameras)
    if NO_CAMERA in arguments.cameras and (cameras or arguments.layout == "pkl"):
        raise UserError(f"--cameras {NO_CAMERA} stands alone and needs --layout hdf5: each pickle is a picture")
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {arguments.output} cannot be a folder ({error.strerror}): choose another") from error
    return Settings(
        arguments.output,
        arguments.layout,
        arguments.save_freq,
        cameras,
        arguments.first_seed,
        noise,
        arguments.draw_every,
        tuple(arguments.looks),
    )


def _log_summary(reports: "Sequence[EpisodeReport]") -> None:
    for task in sorted({report.job.task for report in reports}):
        own = [report for report in reports if report.job.task == task]
        log.info(
            "%s: %d episodes, %d frames, %d failed attempts, noise drawn again %d times, %.0f s of work",
            task,
            len(own),
            sum(report.num_frames for report in own),
            sum(report.failed_attempts for report in own),
            sum(report.redrawn for report in own),
            sum(report.seconds for report in own),
        )


def _positive(text: str) -> int:
    number = _not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("0 was given, wanted 1 or more")
    return number


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
