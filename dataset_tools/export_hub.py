"""Command line: prepared folder => Hugging Face data set, local or pushed.

python -m dataset_tools.export_hub data/prepared --output data/hub
python -m dataset_tools.export_hub data/prepared --output data/hub --push me/robot-frames
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.run import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0 when it is written (and pushed), 2 and one sentence for bad input."""
    return run_command("python -m dataset_tools.export_hub", lambda: _export(argv))


def _export(argv: Sequence[str] | None) -> None:
    import logging  # noqa: PLC0415 (what takes time to load is loaded here, so that Ctrl-C is one sentence)

    from dataset_tools.writers.hub import export_folder, push_folder  # noqa: PLC0415

    log = logging.getLogger(__name__)
    parser = argparse.ArgumentParser(prog="python -m dataset_tools.export_hub", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="prepared folder")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; must be absent or empty")
    parser.add_argument("--push", metavar="OWNER/NAME", help="also push to the Hub, with the token of `hf auth login`")
    parser.add_argument("--public", action="store_true", help="make the pushed data set public")
    args = parser.parse_args(argv)
    counts = export_folder(args.folder, args.output)
    log.info("wrote %s to %s.", ", ".join(f"{n} {split}" for split, n in counts.items()), args.output)
    if args.push:
        log.info("pushed to %s.", push_folder(args.output, args.push, private=not args.public))


if __name__ == "__main__":
    sys.exit(main())
