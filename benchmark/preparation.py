"""Command line: how fast is the preparation, beside the least that it must do.

    python -m benchmark.preparation --episodes data/sim --workers 2

Bare: JPEG bytes in memory => pixels => JPEG bytes, nothing else. Preparation: reading, colours, checks, encoding,
hashes, files, links and manifest, with every frame in a pair. Both run on the same frames in the same warm processes,
in turn, so that other load on the machine meets both; the medians are compared.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from commands.processes import make_pool
from commands.run import run_command
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, Part, plan_folder
from dataset_tools.readers.arguments import add_reading_arguments, read_episodes
from formats.pictures import encode_picture, read_picture

log = logging.getLogger(__name__)

PREPARATION = "preparation"
BARE = "bare JPEG decode + encode"


def main(argv: Sequence[str] | None = None) -> int:
    """Print both rates; 0, or 2 and one sentence for bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.preparation", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    return run_command(
        "python -m benchmark.preparation", lambda: Console().print(make_table(measure(args), args.workers))
    )


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Frames per second of each way, a number per round."""
    options = Options(PairingRule(horizons=(1,)))  # every frame is in a pair
    plan = plan_folder(read_episodes(args), options, args.episodes)
    frames = sum(part.episode.length for part in plan.parts)
    rates: dict[str, list[float]] = {BARE: [], PREPARATION: []}
    with (
        tempfile.TemporaryDirectory() as place,
        make_pool(args.workers) as pool,
    ):
        stored = list(pool.map(store_jpegs, plan.parts))
        for turn in range(args.rounds):
            folder = Path(place) / str(turn)
            rates[BARE].append(frames / _seconds(lambda: list(pool.map(recode_jpegs, stored))))

            def prepare(folder: Path = folder) -> None:
                open_folder(plan, folder)
                count = len(plan.parts)
                list(pool.map(convert_part, plan.parts, [folder] * count, [options] * count))
                finish_folder(plan, folder, options)

            rates[PREPARATION].append(frames / _seconds(prepare))
    return rates


def store_jpegs(part: Part) -> list[bytes]:
    """The episode's frames as JPEG bytes in memory."""
    return [encode_picture(frame) for frame in part.episode.frames()]


def recode_jpegs(contents: list[bytes]) -> int:
    """Decode and encode each picture; returns the number of bytes, so that nothing is sent back."""
    return sum(len(encode_picture(read_picture(content).pixels)) for content in contents)


def make_table(rates: dict[str, list[float]], workers: int) -> Table:
    """Medians of the rounds, and the one as a share of the other."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    table = Table("way", "frames/s", "of bare", title=f"{workers} workers, median of {len(rates[BARE])} rounds")
    for name, rate in medians.items():
        table.add_row(name, f"{rate:.0f}", f"{rate / medians[BARE]:.0%}")
    return table


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
