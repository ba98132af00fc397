"""Command line: any episodes => a LeRobot data set of version 3.0.

python -m dataset_tools.export_lerobot --episodes data/sim --output data/sim_lerobot --camera head_camera left_camera
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.run import run_command, show_progress


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when it is written, 2 and one sentence for bad input."""
    return run_command("python -m dataset_tools.export_lerobot", lambda: _export(argv))


def _export(argv: Sequence[str] | None) -> None:
    import logging  # noqa: PLC0415 (what takes time to load is loaded here, so that Ctrl-C is one sentence)

    from dataset_tools.episode import group_views  # noqa: PLC0415
    from dataset_tools.preparing.instructions import SOURCES, SentenceRule  # noqa: PLC0415
    from dataset_tools.readers.arguments import add_reading_arguments, reading_request  # noqa: PLC0415
    from dataset_tools.readers.detect import read_episodes  # noqa: PLC0415
    from dataset_tools.writers.lerobot import PICTURES, common_rate, with_sentences, write_lerobot  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m dataset_tools.export_lerobot", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder of the data set; must be absent or empty")
    parser.add_argument("--pictures", choices=PICTURES, default="video", help="image: PNG in the rows, exact but large")
    parser.add_argument("--fps", type=float, help="frames per second, where the episodes do not say")
    parser.add_argument("--robot", help="robot_type of the data set (default: what the episodes say, else unknown)")
    parser.add_argument("--instruction", help="one sentence for all episodes")
    parser.add_argument("--instructions", choices=SOURCES, default="auto")
    args = parser.parse_args(argv)
    episodes = read_episodes(reading_request(args))
    recordings = with_sentences(group_views(episodes), SentenceRule(args.instructions, args.instruction))
    rate = common_rate(episodes, args.fps)
    shown = show_progress(recordings, "episodes", total=len(recordings))
    count = write_lerobot(shown, args.output, rate=rate, pictures=args.pictures, robot=args.robot)
    logging.getLogger(__name__).info("wrote %d episodes to %s at %g frames per second.", count, args.output, rate)


if __name__ == "__main__":
    sys.exit(main())
