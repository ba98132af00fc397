"""Command line: look at prepared folders, and check that none trains on what another tests on.

    python -m dataset_tools.inspect_dataset data/prepared [other/prepared ...] --output data/inspection

Exit code 0: fine; 1: an episode is both trained on and held out; 2: bad input.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from commands.run import run_command
from dataset_tools.contact_sheet import write_motion_histogram, write_sheets
from dataset_tools.inspection import Inspection, Leak, TaskSummary, find_leaks, inspect_folder
from formats.atomic import write_text
from formats.prepared_folder import SPLITS

log = logging.getLogger(__name__)

LEAK = 1  # exit code
BAR = 40  # characters of the longest bar
LISTED = 10  # leaks named before "and n more"


def main(argv: Sequence[str] | None = None) -> int:
    """Write report.txt, contact sheets and the motion histogram; say the report on stdout."""
    parser = argparse.ArgumentParser(prog="python -m dataset_tools.inspect_dataset", description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="prepared folders; leaks are looked for across them")
    parser.add_argument("--output", type=Path, help="where pictures and report go (default: <first folder>_inspection)")
    args = parser.parse_args(argv)
    output = args.output or args.folders[0].with_name(args.folders[0].resolve().name + "_inspection")

    def run() -> int:
        inspections = [inspect_folder(folder) for folder in args.folders]
        leaks = find_leaks(inspections)
        report = make_report(inspections, leaks)
        pictures = write_pictures(inspections, output)
        write_text(output / "report.txt", report)
        Console().print(Text(report), soft_wrap=True)
        for path in (*pictures, output / "report.txt"):
            log.info("wrote %s", path)
        return LEAK if leaks else 0

    return run_command("python -m dataset_tools.inspect_dataset", run)


def write_pictures(inspections: Sequence[Inspection], output: Path) -> list[Path]:
    """Contact sheets (in a folder of their own where there are several prepared folders) and motion.png."""
    written = []
    for number, inspection in enumerate(inspections):
        place = output if len(inspections) == 1 else output / f"{number}_{inspection.folder.resolve().name}"
        written += write_sheets(inspection, place)
    write_motion_histogram(inspections, output / "motion.png")
    return [*written, output / "motion.png"]


def make_report(inspections: Sequence[Inspection], leaks: Sequence[Leak]) -> str:
    """The text report."""
    lines: list[str] = []
    for inspection in inspections:
        lines += [f"{inspection.folder}: {len(inspection.pairs)} pairs, {len(inspection.tasks)} tasks", ""]
        for summary in inspection.tasks:
            lines += _task_lines(summary)
        lines += _motion_lines(inspection)
    lines += _leak_lines(inspections, leaks)
    return "\n".join(lines) + "\n"


def _task_lines(summary: TaskSummary) -> list[str]:
    splits = [split for split in (*SPLITS, "none") if split in summary.pairs]
    counts = "; ".join(
        f"{split} {summary.pairs[split]} pairs"
        + (f" of {summary.episodes[split]} episodes" if split in summary.episodes else "")
        for split in splits
    )
    horizon = f"{_range(summary.horizons)} frames" if summary.horizons else "unknown"
    seconds = f" = {_range(summary.seconds)} s" if summary.seconds else ", seconds unknown (no save_freq or rate)"
    sentences = f"{len(summary.instructions)} sentences, such as" if len(summary.instructions) > 1 else "sentence"
    return [
        f"  {summary.task}",
        f"    {counts}",
        f"    horizon {horizon}{seconds}",
        f"    {sentences} '{summary.instructions[0]}'",
        "",
    ]


def _motion_lines(inspection: Inspection) -> list[str]:
    motion = inspection.motion[np.isfinite(inspection.motion)]
    if not len(motion):
        return ["  motion: the two pictures of the pairs differ in size", ""]
    low, median, high = np.percentile(motion, [10, 50, 90])
    counts, edges = np.histogram(motion, bins=10, range=(0, max(1.0, float(motion.max()))))
    bars = [
        f"    {edges[i]:6.2f}-{edges[i + 1]:6.2f} {'#' * round(BAR * count / max(counts))} {count}"
        for i, count in enumerate(counts)
    ]
    return [
        f"  motion, mean |future - current| of 255, {len(motion)} pairs: median {median:.2f}, "
        f"middle 80% {low:.2f} to {high:.2f}",
        *bars,
        f"  duplicates: {inspection.static} pairs of two identical pictures; "
        f"{inspection.repeated} current pictures that several episodes share",
        "",
    ]


def _leak_lines(inspections: Sequence[Inspection], leaks: Sequence[Leak]) -> list[str]:
    unknown = [str(i.folder) for i in inspections if any(pair.episode is None for pair in i.pairs)]
    lines = [f"leak check impossible in {name}: it does not say which episodes it holds" for name in unknown]
    if not leaks:
        return [*lines, "leak check: no episode is both trained on and held out"]
    lines.append(f"LEAK: {len(leaks)} episodes are both trained on and held out")
    for leak in leaks[:LISTED]:
        trained, held_out = ", ".join(leak.trained_in), ", ".join(leak.held_out_in)
        lines.append(f"  {leak.task}/{leak.episode}: trained on in {trained}; held out in {held_out}")
    if len(leaks) > LISTED:
        lines.append(f"  and {len(leaks) - LISTED} more")
    return lines


def _range(numbers: Sequence[float]) -> str:
    if len(numbers) <= 4:
        return ", ".join(f"{number:g}" for number in numbers)
    return f"{numbers[0]:g} to {numbers[-1]:g} ({len(numbers)} values)"


if __name__ == "__main__":
    sys.exit(main())
