"""Command line: any episodes => a LeRobot data set of version 3.0.

python -m dataset_tools.export_lerobot --episodes data/sim --output data/sim_lerobot --camera head_camera left_camera
"""

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from commands.errors import UserError
from commands.run import run_command
from dataset_tools.episode import Episode
from dataset_tools.preparing.instructions import SOURCES as SENTENCE_SOURCES
from dataset_tools.preparing.instructions import SentenceRule, make_instruction
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import read_episodes
from dataset_tools.writers.lerobot import PICTURES, Recording, write_lerobot

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when it is written, 2 and one sentence for bad input."""
    parser = argparse.ArgumentParser(prog="python -m dataset_tools.export_lerobot", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder of the data set; must be absent or empty")
    parser.add_argument("--pictures", choices=PICTURES, default="video", help="image: PNG in the rows, exact but large")
    parser.add_argument("--fps", type=float, help="frames per second, where the episodes do not say")
    parser.add_argument("--robot", help="robot_type of the data set (default: what the episodes say, else unknown)")
    parser.add_argument("--instruction", help="one sentence for all episodes")
    parser.add_argument("--instructions", choices=SENTENCE_SOURCES, default="auto")
    args = parser.parse_args(argv)

    def run() -> None:
        episodes = read_episodes(reading_request(args))
        recordings = group_views(episodes, SentenceRule(args.instructions, args.instruction))
        rate = common_rate(episodes, args.fps)
        console = Console(stderr=True)
        shown = track(recordings, "episodes", total=len(recordings), console=console, disable=not console.is_terminal)
        count = write_lerobot(shown, args.output, rate=rate, pictures=args.pictures, robot=args.robot)
        log.info("wrote %d episodes to %s at %g frames per second.", count, args.output, rate)

    return run_command("python -m dataset_tools.export_lerobot", run)


def group_views(episodes: Sequence[Episode], rule: SentenceRule) -> list[Recording]:
    """Episodes of one source, task and number but several cameras => one recording each, in order."""
    groups: dict[tuple, dict[str, Episode]] = {}
    for episode in episodes:
        groups.setdefault((episode.task, episode.number, str(episode.source)), {})[episode.camera] = episode
    return list(_recordings(groups.values(), rule))


def common_rate(episodes: Sequence[Episode], stated: float | None = None) -> float:
    """Frames per second of all the episodes; `stated` holds where they do not say.

    Raises:
        UserError: if it is unknown or they differ, among themselves or from the stated one.
    """
    if stated is not None and stated <= 0:
        raise UserError(f"--fps is {stated:g}; give the frames per second, more than 0.")
    rates = {episode.frames_per_second for episode in episodes}
    if stated is not None:
        known = rates - {None}
        odd = [rate for rate in known if not math.isclose(rate, stated, rel_tol=0.01)]
        if odd:
            raise UserError(f"--fps is {stated:g}, but the episodes say {odd[0]:g} themselves; leave --fps out.")
        rates = known or {stated}
    if None in rates:
        raise UserError("the frame rate of the episodes is unknown; give --fps, or RoboTwin's --save-freq.")
    if len(rates) > 1:
        raise UserError(
            f"the episodes differ in frame rate ({sorted(rates)}); a LeRobot data set has one: export apart."
        )
    return float(rates.pop())


def _recordings(groups: Iterator[dict[str, Episode]], rule: SentenceRule) -> Iterator[Recording]:
    for views in groups:
        main = next(iter(views.values()))
        yield Recording(views, make_instruction(rule, main, f"{main.task}/{main.number}", horizon=0))


if __name__ == "__main__":
    sys.exit(main())
