"""Command line: any episodes => picture files, <task>/episode<i>_frame<j>.jpg, as two of the papers keep them.

python -m dataset_tools.export_frames --episodes data/sim --output data/frames
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.run import run_command, show_progress


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when it is written, 2 and one sentence for bad input."""
    return run_command("python -m dataset_tools.export_frames", lambda: _export(argv))


def _export(argv: Sequence[str] | None) -> None:
    import logging  # noqa: PLC0415 (what takes time to load is loaded here, so that Ctrl-C is one sentence)

    from dataset_tools.readers.arguments import add_reading_arguments, reading_request  # noqa: PLC0415
    from dataset_tools.readers.detect import read_episodes  # noqa: PLC0415
    from dataset_tools.writers.frames import write_frames  # noqa: PLC0415
    from formats.pictures import PICTURE_FORMATS  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m dataset_tools.export_frames", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must be absent or empty")
    parser.add_argument("--picture-format", choices=PICTURE_FORMATS, default="jpg")
    args = parser.parse_args(argv)
    episodes = read_episodes(reading_request(args))
    shown = show_progress(episodes, "episodes", total=len(episodes))
    count = write_frames(shown, args.output, args.picture_format)
    logging.getLogger(__name__).info("wrote %d frames of %d episodes to %s.", count, len(episodes), args.output)


if __name__ == "__main__":
    sys.exit(main())
