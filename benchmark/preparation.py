"""How fast is the preparation, beside the least that it must do: python -m benchmark preparation

    python -m benchmark preparation --episodes data/sim --workers 2

Bare: JPEG bytes in memory => pixels => JPEG bytes, nothing else. Preparation: reading, colours, checks, encoding,
hashes, files, links and manifest, with every frame in a pair. Both run on the same frames in the same warm processes,
in turn, so that other load on the machine meets both; the medians are compared.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from benchmark.measuring import time_in_turns
from benchmark.report import table
from commands.processes import make_pool
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, Part, Plan, plan_folder
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import read_episodes
from formats.pictures import encode_picture, read_picture

PREPARATION = "preparation"
BARE = "bare JPEG decode + encode"
OPTIONS = Options(PairingRule(horizons=(1,)))  # every frame is in a pair


def measure(plan: Plan, workers: int, rounds: int) -> dict[str, list[float]]:
    """Frames per second of each way, a number per round."""
    frames = sum(part.episode.length for part in plan.parts)
    with tempfile.TemporaryDirectory() as place, make_pool(workers) as pool:
        stored = list(pool.map(store_jpegs, plan.parts))
        folders = (Path(place) / str(turn) for turn in count())

        def prepare() -> None:
            folder, num = next(folders), len(plan.parts)
            open_folder(plan, folder)
            list(pool.map(convert_part, plan.parts, [folder] * num, [OPTIONS] * num))
            finish_folder(plan, folder, OPTIONS)

        *_, seconds = time_in_turns([lambda: list(pool.map(recode_jpegs, stored)), prepare], rounds)
    return {name: [frames / s for s in of] for name, of in zip((BARE, PREPARATION), seconds, strict=True)}


def store_jpegs(part: Part) -> list[bytes]:
    """The episode's frames as JPEG bytes in memory."""
    return [encode_picture(frame) for frame in part.episode.frames()]


def recode_jpegs(contents: list[bytes]) -> int:
    """Decode and encode each picture; returns the number of bytes, so that nothing is sent back."""
    return sum(len(encode_picture(read_picture(content).pixels)) for content in contents)


def format_rates(rates: dict[str, list[float]], workers: int) -> str:
    """Medians of the rounds, and each as a share of the bare one."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    cells = ([name, f"{rate:.0f}", f"{rate / medians[BARE]:.0%}"] for name, rate in medians.items())
    rows = table(["way", "frames/s:", "of bare:"], cells)
    return f"{workers} workers, median of {len(rates[BARE])} rounds\n\n{rows}\n"


def main(argv: Sequence[str]) -> None:
    """Print both rates."""
    parser = argparse.ArgumentParser(prog="python -m benchmark preparation", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    plan = plan_folder(read_episodes(reading_request(args)), OPTIONS, args.episodes)
    sys.stdout.write(format_rates(measure(plan, args.workers, args.rounds), args.workers))
