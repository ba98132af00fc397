"""The request of `python -m dataset_tools.prepare_dataset`, parsed and checked once."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.processes import available_cores, parse_shard
from dataset_tools.preparing.instructions import NO_TEMPLATE, SOURCES, SentenceRule, read_shipped_sentences
from dataset_tools.preparing.pairing import PAIRINGS, PairingRule
from dataset_tools.preparing.plan import Options
from dataset_tools.preparing.splits import SPLIT_KINDS, SplitRule, add_split_arguments, read_split_rule
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import ReadingRequest
from formats.pictures import JPEG_QUALITY, PICTURE_FORMATS

JSONL = "instructpix2pix_dataset.jsonl"


@dataclass(frozen=True)
class PrepareRequest:
    """Which episodes become which prepared folder, and this process's part of the work."""

    reading: ReadingRequest
    options: Options
    output: Path
    workers: int = 1
    shard: tuple[int, int] = (0, 1)  # this one of so many, from 0
    merge: bool = False  # finish the folder, convert nothing
    jsonl: bool = False  # also write a line a pair


def parse_request(argv: Sequence[str] | None = None) -> PrepareRequest:
    """The request of a command line; argparse ends the process with code 2 where it is malformed.

    Raises:
        UserError: if the values contradict each other or are outside their limits.
    """
    args = make_parser().parse_args(argv)
    return PrepareRequest(
        reading=reading_request(args),
        options=_options(args),
        output=args.output,
        workers=args.workers,
        shard=args.shard,
        merge=args.merge,
        jsonl=args.jsonl,
    )


def _options(args: argparse.Namespace) -> Options:
    is_folder = args.instructions not in SOURCES
    split = read_split_rule(args, args.split)
    return Options(
        pairing=PairingRule(
            kind=args.pairing,
            horizons=tuple(args.horizon),
            horizons_seconds=tuple(args.horizon_seconds),
            stride=args.stride,
            window=args.window,
            pairs_per_episode=args.pairs_per_episode,
            seed=args.seed,
        ),
        split=SplitRule(val=0.0, test=1.0) if args.all_test else split,
        sentences=SentenceRule(
            source="auto" if is_folder else args.instructions,
            fixed=args.instruction,
            shipped=read_shipped_sentences(Path(args.instructions)) if is_folder else (),
            template=args.template,
        ),
        size=args.size,
        picture_format=args.picture_format,
        quality=args.quality,
        drop_static=args.drop_static,
        max_train_samples=args.max_train_samples,
    )


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_tools.prepare_dataset", description="Robot episodes => prepared folder."
    )
    add_reading_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="prepared folder to write")

    add = parser.add_argument_group("pairs").add_argument
    add("--pairing", choices=PAIRINGS, default="fixed")
    add("--horizon", type=int, nargs="+", default=[], help="frames from source to target")
    add("--horizon-seconds", type=float, nargs="+", default=[], help="the same in seconds")
    add("--stride", type=int, default=1, help="every stride-th frame is a source")
    add("--window", type=int, default=50, help="first_last: how many frames at each end")
    add("--pairs-per-episode", type=int, default=1, help="first_last")
    add("--seed", type=int, default=0, help="first_last")
    add("--drop-static", type=float, default=0.0, metavar="T", help="drop pairs with mean |difference| < T of 255")

    add = parser.add_argument_group("split").add_argument
    add("--split", choices=SPLIT_KINDS, default="episode", help="leaky: by pair, only to reproduce the papers")
    add_split_arguments(add)
    add("--all-test", action="store_true", help="everything into the test split")
    add("--max-train-samples", type=int)

    add = parser.add_argument_group("sentences").add_argument
    add("--instruction", help="one sentence for all pairs")
    add("--instructions", default="auto", help=f"{', '.join(SOURCES)}, or RoboTwin's folder data/instructions")
    add("--template", default=NO_TEMPLATE, help="may say {instruction}, {horizon} (frames), {seconds}")

    add = parser.add_argument_group("pictures").add_argument
    add("--size", type=_size, default=None, metavar="S|keep", help="square S x S, LANCZOS (default: keep)")
    add("--picture-format", choices=PICTURE_FORMATS, default="jpg")
    add("--quality", type=int, default=JPEG_QUALITY, help="of JPEG")

    add = parser.add_argument_group("work").add_argument
    add("--workers", type=int, default=available_cores(), help="processes; the result is the same")
    add("--shard", type=parse_shard, default=(0, 1), metavar="i/n", help="convert the i-th of n shares, i from 0")
    add("--merge", action="store_true", help="finish the folder after all shards are done")
    add("--jsonl", action="store_true", help=f"also write {JSONL}, a line a pair, as afp does")
    return parser


def _size(text: str) -> int | None:
    if text != "keep" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write a number of pixels, for example 64, or keep.")
    return None if text == "keep" else int(text)
