"""Command line: inspect prepared folders of pairs or of episodes, and check for test episodes among training data.

    python -m dataset_tools.inspect_dataset data/prepared [other/prepared ...] --output data/inspection

Exit code 0: fine; 1: an episode is both trained on and held out; 2: bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.run import run_command

LEAK = 1  # exit code


def main(argv: Sequence[str] | None = None) -> int:
    """Write report.txt, contact sheets and the motion histogram; print the report."""
    return run_command("python -m dataset_tools.inspect_dataset", lambda: _inspect(argv))


def _inspect(argv: Sequence[str] | None) -> int:
    import logging  # noqa: PLC0415 (what takes time to load is loaded here, so that Ctrl-C is one sentence)

    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from dataset_tools.episode_inspection import inspect_episodes  # noqa: PLC0415
    from dataset_tools.inspection import find_leaks, inspect_folder, make_report, write_pictures  # noqa: PLC0415
    from dataset_tools.readers.prepared import holds_episodes  # noqa: PLC0415
    from formats.atomic import write_text  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m dataset_tools.inspect_dataset", description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="prepared folders; leaks are looked for across them")
    parser.add_argument("--output", type=Path, help="where pictures and report go (default: <first folder>_inspection)")
    args = parser.parse_args(argv)
    first = args.folders[0].resolve()
    output = args.output or first.with_name(first.name + "_inspection")
    acted = [inspect_episodes(folder) for folder in args.folders if holds_episodes(folder)]
    inspections = [inspect_folder(folder) for folder in args.folders if not holds_episodes(folder)]
    leaks = find_leaks([*inspections, *acted])
    lines = [line for inspection in acted for line in inspection.report()]
    report = "".join(f"{line}\n" for line in lines) + make_report(inspections, leaks)
    pictures = write_pictures(inspections, output) if inspections else []
    for number, inspection in enumerate(acted):
        pictures += inspection.write_strips(output if len(acted) == 1 else output / f"episodes_{number}")
    write_text(output / "report.txt", report)
    Console().print(Text(report), soft_wrap=True)
    for path in (*pictures, output / "report.txt"):
        logging.getLogger(__name__).info("wrote %s", path)
    return LEAK if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
