"""How fast is the preparation, beside the least that it must do: python -m benchmark preparation

    python -m benchmark preparation --episodes data/sim --workers 2

Bare: JPEG bytes in memory => pixels => JPEG bytes, nothing else. Preparation: reading, colours, checks, encoding,
hashes, files, links and manifest, with every frame in a pair. Both run on the same frames in the same warm processes,
in turn, so that other load on the machine meets both; the medians are compared.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from benchmark.measuring import summarise, time_in_turns
from benchmark.report import Row, table
from commands.processes import make_pool
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, Part, Plan, plan_folder
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import read_episodes
from formats.pictures import encode_picture, read_picture

BARE = "bare JPEG decode + encode"
OPTIONS = Options(PairingRule(horizons=(1,)))  # every frame is in a pair


def measure(plan: Plan, workers: int, rounds: int) -> Row:
    """Frames a second of the preparation, against those of bare decoding and encoding."""
    frames = sum(part.episode.length for part in plan.parts)
    with tempfile.TemporaryDirectory() as place, make_pool(workers) as pool:
        stored = list(pool.map(store_jpegs, plan.parts))
        folders = (Path(place) / str(turn) for turn in count())

        def prepare() -> None:
            folder, num = next(folders), len(plan.parts)
            open_folder(plan, folder)
            list(pool.map(convert_part, plan.parts, [folder] * num, [OPTIONS] * num))
            finish_folder(plan, folder, OPTIONS)

        *_, seconds = time_in_turns([prepare, lambda: list(pool.map(recode_jpegs, stored))], rounds)
    (rate, spread), (bare, bare_spread) = (summarise([frames / s for s in of]) for of in seconds)
    what = f"preparation, {workers} workers, median of {rounds} rounds"
    return Row("preparation", what, rate, "frames/s", bare, BARE, spread, bare_spread)


def store_jpegs(part: Part) -> list[bytes]:
    """The episode's frames as JPEG bytes in memory."""
    return [encode_picture(frame) for frame in part.episode.frames()]


def recode_jpegs(contents: list[bytes]) -> int:
    """Decode and encode each picture; returns the number of bytes, so that nothing is sent back."""
    return sum(len(encode_picture(read_picture(content).pixels)) for content in contents)


def main(argv: Sequence[str]) -> None:
    """Print both rates."""
    parser = argparse.ArgumentParser(prog="python -m benchmark preparation", description=__doc__.split("\n")[0])
    add_reading_arguments(parser)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    plan = plan_folder(read_episodes(reading_request(args)), OPTIONS, args.episodes)
    sys.stdout.write(table([measure(plan, args.workers, args.rounds)]) + "\n")
