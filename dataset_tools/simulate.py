"""The command `python -m dataset_tools.simulate`: arguments, progress, exit codes.

Exit codes: 0 done; 1 failed on the way; 2 bad arguments; 3 no OpenGL to draw with; 130 interrupted.
"""

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simulator.graphics import RendererUnavailable

if TYPE_CHECKING:
    from dataset_tools.simulation import EpisodeReport, Job, Settings

# MuJoCo is slow to import: what needs it is imported where it is used, so that --help and bad arguments answer at once.
TASK_NAMES = ("block_hammer_beat", "block_handover", "blocks_stack_easy")
CAMERA_NAMES = ("head", "front", "left", "right")
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NO_RENDERER, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
LOG_EVERY = 20  # episodes of a task

log = logging.getLogger(__name__)


class UsageError(ValueError):
    """An argument that cannot be honoured."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = _Parser(
        prog="python -m dataset_tools.simulate",
        description="Simulate robot episodes and write them as RoboTwin does. A run that was stopped goes on when the"
        " same command is given again.",
    )
    tasks = ("all", *TASK_NAMES)
    parser.add_argument(
        "--task", nargs="+", default=["all"], choices=tasks, metavar="TASK", help=f"{', '.join(tasks)} (default: all)"
    )
    parser.add_argument("--episodes", type=_positive, default=30, metavar="N", help="per task (default: 30)")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--layout", choices=("hdf5", "pkl"), default="hdf5", help="RoboTwin 2.0 or 1.0 (default: hdf5)")
    parser.add_argument(
        "--save-freq",
        type=_positive,
        default=50,
        metavar="STEPS",
        help="steps of 1/250 s per saved frame (default: 50, which is 5 frames/s; RoboTwin's own is 15)",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=["head"],
        choices=CAMERA_NAMES,
        metavar="CAMERA",
        help=f"{', '.join(CAMERA_NAMES)} (default: head; left and right are the wrists)",
    )
    parser.add_argument(
        "--first-seed", type=_not_negative, default=0, metavar="N", help="0 to 950: other seeds, other scenes"
    )
    parser.add_argument(
        "--first-episode", type=_not_negative, default=0, metavar="N", help="number of the first one: more scenes"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("OpenGL").setLevel(logging.WARNING)  # it tells of an accelerator that is of no use here
    try:
        arguments = make_parser().parse_args(argv)
        return _run(arguments, console)
    except UsageError as error:
        log.error("%s", error)
        return EXIT_USAGE
    except RendererUnavailable as error:
        log.error("%s", error)
        return EXIT_NO_RENDERER
    except (RuntimeError, OSError) as error:
        log.error("%s", error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        log.warning("interrupted; the same command goes on from here")
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from dataset_tools.simulation import plan_jobs, unfinished_jobs

    settings = _make_settings(arguments)
    tasks = TASK_NAMES if "all" in arguments.task else tuple(dict.fromkeys(arguments.task))
    jobs = plan_jobs(tasks, arguments.first_episode, arguments.episodes)
    try:
        todo = unfinished_jobs(jobs, settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len(todo) < len(jobs):
        log.info("%d of %d episodes are in %s already", len(jobs) - len(todo), len(jobs), settings.output)
    _log_summary(_show_progress(todo, settings, arguments.workers, console))
    return EXIT_OK


def _make_settings(arguments: argparse.Namespace) -> "Settings":
    from dataset_tools.simulation import LARGEST_FIRST_SEED, LARGEST_SAVE_FREQ, Settings

    if arguments.save_freq > LARGEST_SAVE_FREQ:
        raise UsageError(f"--save-freq is {arguments.save_freq}, wanted 1 to {LARGEST_SAVE_FREQ} steps of 1/250 s")
    if arguments.first_seed > LARGEST_FIRST_SEED:
        raise UsageError(
            f"--first-seed is {arguments.first_seed}, wanted 0 to {LARGEST_FIRST_SEED}, because seeds beyond belong to "
            "the next episode and would repeat its scenes: for more scenes give --first-episode"
        )
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--output {arguments.output} cannot be a folder ({error.strerror}): choose another"
        ) from error
    cameras = tuple(camera for camera in CAMERA_NAMES if camera in arguments.cameras)
    return Settings(arguments.output, arguments.layout, arguments.save_freq, cameras, arguments.first_seed)


def _show_progress(
    jobs: "Sequence[Job]", settings: "Settings", workers: int, console: Console
) -> "list[EpisodeReport]":
    from dataset_tools.simulation import generate

    reports: list[EpisodeReport] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bars = {
            task: progress.add_task(task, total=sum(job.task == task for job in jobs))
            for task in dict.fromkeys(job.task for job in jobs)
        }
        done: dict[str, int] = defaultdict(int)
        for report in generate(jobs, settings, workers):
            reports.append(report)
            task = report.job.task
            done[task] += 1
            progress.advance(bars[task])
            if done[task] % LOG_EVERY == 0 and not console.is_terminal:
                log.info("%s: %d episodes", task, done[task])
    return reports


def _log_summary(reports: "Sequence[EpisodeReport]") -> None:
    for task in sorted({report.job.task for report in reports}):
        own = [report for report in reports if report.job.task == task]
        log.info(
            "%s: %d episodes, %d frames, %d failed attempts, %.0f s of work",
            task,
            len(own),
            sum(report.num_frames for report in own),
            sum(report.failed_attempts for report in own),
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
