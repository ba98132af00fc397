"""Command line: robot episodes => prepared folder.

    python -m dataset_tools.prepare_dataset --episodes data/sim --output data/prepared --horizon 20 --size 64

Interrupted at any moment, the same command goes on where it stopped and ends with the same bytes.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from commands.processes import available_cores, make_pool
from commands.run import run_command
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder, pending_parts
from dataset_tools.preparing.instructions import NO_TEMPLATE, SOURCES, SentenceRule, read_shipped_sentences
from dataset_tools.preparing.pairing import PAIRINGS, PairingRule, parse_numbers
from dataset_tools.preparing.plan import Options, Part, Plan, plan_folder
from dataset_tools.preparing.splits import SPLIT_KINDS, SplitRule
from dataset_tools.readers.arguments import add_reading_arguments, reading_request
from dataset_tools.readers.detect import read_episodes
from formats.atomic import write_text
from formats.pictures import JPEG_QUALITY, PICTURE_FORMATS
from formats.prepared_folder import SPLITS, read_manifest

log = logging.getLogger(__name__)

JSONL = "instructpix2pix_dataset.jsonl"


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a folder; 0 when it is whole (or this shard is done), 2 and one sentence for bad input."""
    args = make_parser().parse_args(argv)

    def run() -> None:
        _prepare(args, Console(stderr=True))

    return run_command("python -m dataset_tools.prepare_dataset", run)


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
    add("--val", type=float, default=0.1, help="fraction of the episodes")
    add("--test", type=float, help="fraction of the episodes (default 0.1, or 0 with --holdout)")
    add("--holdout", type=_numbers, default=frozenset(), help="episode numbers for the test split: 80-99")
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
    add("--shard", type=_shard, default=(0, 1), metavar="i/n", help="convert the i-th of n shares, i from 0")
    add("--merge", action="store_true", help="finish the folder after all shards are done")
    add("--jsonl", action="store_true", help=f"also write {JSONL}, a line a pair, as afp does")
    return parser


def _size(text: str) -> int | None:
    if text != "keep" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write a number of pixels, for example 64, or keep.")
    return None if text == "keep" else int(text)


def _numbers(text: str) -> frozenset[int]:
    try:
        return parse_numbers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error  # argparse would put its own words for a ValueError


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' is no shard; write 0/4, 1/4, 2/4, 3/4.")
    return int(index), int(count)


def make_options(args: argparse.Namespace) -> Options:
    """Options of the preparation from the command's arguments."""
    is_folder = args.instructions not in SOURCES
    test = args.test if args.test is not None else 0.0 if args.holdout else 0.1
    split = SplitRule(args.val, test, args.holdout, args.split)
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


def _prepare(args: argparse.Namespace, console: Console) -> None:
    options = make_options(args)
    plan = plan_folder(read_episodes(reading_request(args)), options, args.episodes)
    if open_folder(plan, args.output):
        log.info("%s is whole already: the same episodes, the same options.", args.output)
        if args.jsonl:
            write_jsonl(args.output)
        return
    index, count = args.shard
    if not args.merge:
        share = [part for part in pending_parts(plan, args.output) if part.position % count == index]
        _convert(share, args.output, options, args.workers, console)
        if count > 1:
            log.info("shard %d/%d is done; when all are, run the same command with --merge.", index, count)
            return
    whole = finish_folder(plan, args.output, options)
    if args.jsonl:
        write_jsonl(args.output)
    console.print(_report(whole, plan))
    log.info(
        "no target frame: %d skipped; static: %d dropped; split by %s.",
        whole["skipped_without_target"],
        whole["dropped_static"],
        "episode" if options.split.kind == "episode" else "pair (leaky)",
    )


def write_jsonl(folder: Path) -> None:
    """A line a pair: both pictures and the sentence."""
    lines = []
    for pair in read_manifest(folder):
        pictures = [
            path.relative_to(folder).as_posix() for path in (pair.source_path(folder), pair.target_path(folder))
        ]
        line = {"input_image": pictures[0], "edited_image": pictures[1], "edit": pair.instruction}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(folder / JSONL, "".join(lines))


def _convert(parts: list[Part], folder: Path, options: Options, workers: int, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("pairs", total=sum(len(part.pairs) for part in parts))
        for part in _converted(parts, folder, options, min(workers, len(parts))):
            progress.advance(bar, len(part.pairs))


def _converted(parts: list[Part], folder: Path, options: Options, workers: int) -> Iterator[Part]:
    """Parts as they get done, in this process or in several."""
    if workers <= 1:
        for part in parts:
            convert_part(part, folder, options)
            yield part
        return
    with make_pool(workers) as pool:
        futures = {pool.submit(convert_part, part, folder, options): part for part in parts}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _report(whole: dict, plan: Plan) -> Table:
    table = Table("task", *SPLITS, title=f"{whole['pairs']} pairs of {len(plan.parts)} episodes", title_justify="left")
    for task, row in whole["counts"].items():
        table.add_row(task, *(str(row.get(split, 0)) for split in SPLITS))
    return table


if __name__ == "__main__":
    sys.exit(main())
