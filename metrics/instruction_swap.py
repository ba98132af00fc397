"""Does the prediction follow the sentence? The same frame, the same noise, another sentence.

    python -m metrics.instruction_swap --data data/sim --split test --swapped-data data/sim_swapped
    python edit_cli.py --input data/sim --output runs/right --seed 0
    python edit_cli.py --input data/sim_swapped --output runs/swapped --seed 0
    python -m metrics.instruction_swap --data data/sim --predictions runs/right --swapped runs/swapped --size 64

The first writes a copy of the data in which every pair has the sentence of the next task. A model that does not read
has change 0; one that reads and understands is nearer to the truth with the right sentence (gain above 0).
"""

import argparse
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from commands.errors import UserError
from commands.run import run_command
from formats.atomic import write_json, write_text
from formats.prepared_folder import FramePair, write_manifest
from metrics.comparison.pairs import GROUPINGS, PairSelection, group_by_task, read_pairs
from metrics.comparison.predictions import Predictions, match_predictions, parse_named_folder
from metrics.comparison.resizing import check_size
from metrics.comparison.rows import MODEL, check_row_name
from metrics.comparison.scoring import PairScore, Scorer
from metrics.comparison.table import IDENTICAL_DB, ScoreTable, make_table
from metrics.comparison.table_formats import print_table, to_csv, to_json, to_markdown
from metrics.compute_metrics import add_data_options, add_group_option, add_prediction_options, read_data_options
from metrics.measures.columns import SWAP_KEYS
from metrics.measures.psnr import measure_psnr

# What two records of one pair may differ in: names, the sentence, and what seconds depend on and pictures do not.
FREE = {"pair_id", "file", "instruction", "checkpoint", "tiny_decoder"}
FREE |= {"seconds", "peak_memory_mib", "batch_size", "device", "torch", "commit"}


def swap_instructions(pairs: list[FramePair]) -> list[FramePair]:
    """Give every pair the first sentence of the next task, in alphabetical order of tasks.

    Raises:
        UserError: if there is only one task.
    """
    sentences: dict[str, str] = {}
    for pair in pairs:
        sentences.setdefault(group_by_task(pair), pair.instruction)
    tasks = sorted(sentences)
    if len(tasks) < 2:
        raise UserError(f"the data have one task only ({tasks[0]}); swapping sentences needs two.")
    following = dict(zip(tasks, [*tasks[1:], tasks[0]], strict=True))
    return [replace(pair, instruction=sentences[following[group_by_task(pair)]]) for pair in pairs]


def write_swapped_data(folder: Path, pairs: list[FramePair], output: Path) -> None:
    """Copy a prepared folder with swapped sentences; pair ids stay.

    Raises:
        UserError: if there is only one task, or the output is not empty.
    """
    swapped = swap_instructions(pairs)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty; delete it or choose another --swapped-data.")
    for pair in swapped:
        (output / pair.sample).mkdir(parents=True, exist_ok=True)
        for path in pair.paths(folder):
            shutil.copyfile(path, output / pair.sample / path.name)
        write_json(output / pair.sample / "prompt.json", {"edit": pair.instruction})
    write_manifest(output, swapped, {"instructions": "swapped with the next task's", "source": str(folder)})


def check_same_noise(right: Predictions, swapped: Predictions) -> None:
    """Refuse two folders that differ in more than the sentence, as far as their predictions.jsonl says.

    Raises:
        UserError: naming the pair and what differs.
    """
    for pair_id in right.records.keys() & swapped.records.keys():
        a, b = right.records[pair_id], swapped.records[pair_id]
        for key in sorted((a.keys() | b.keys()) - FREE):
            if a.get(key) != b.get(key):
                raise UserError(
                    f"pair {pair_id} was predicted with {key} {a.get(key)} in {right.folder} and {b.get(key)} in "
                    f"{swapped.folder}; only the sentence may differ."
                )
        if a.get("instruction") is not None and a.get("instruction") == b.get("instruction"):
            raise UserError(
                f"pair {pair_id} has the sentence '{a['instruction']}' in both folders; nothing was swapped."
            )


def score_swap(scorer: Scorer, pair: FramePair, right: Predictions, swapped: Predictions) -> PairScore | None:
    """Change and gain on one pair; None where one of the two pictures is absent."""
    source, truth = scorer.read_frames(pair)
    frame, other = (scorer.predict_frame(system, pair, source) for system in (right, swapped))
    if frame is None or other is None:
        return None
    change = float(np.abs(frame.astype(np.int16) - other).mean())
    psnr, other_psnr = (min(measure_psnr(picture, truth), IDENTICAL_DB) for picture in (frame, other))
    values = {"swap_change": change, "swap_gain": psnr - other_psnr, "swap_better": float(psnr > other_psnr)}
    return scorer.make_score(right, pair, values)


@dataclass(frozen=True)
class SwapRequest:
    """Predictions of right and of swapped sentences, folder by folder; checked when it is made."""

    data: PairSelection
    predictions: tuple[str, ...]
    swapped: tuple[str, ...]
    match: Path | None = None
    group: str = "task"
    size: int | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if not self.predictions or len(self.predictions) != len(self.swapped):
            raise UserError(
                "give as many --swapped folders as --predictions, or --swapped-data to write data to predict."
            )


def measure_swap(request: SwapRequest) -> ScoreTable:
    """The table of a model's answers to swapped sentences."""
    folder, grouping = request.data.root, GROUPINGS[request.group]
    pairs, others = request.data.read(), read_pairs(folder)
    scores, names = [], []
    for right_folder, swapped_folder in zip(request.predictions, request.swapped, strict=True):
        name, path = parse_named_folder(right_folder)
        right = match_predictions(path, pairs, name, request.match, others)
        if check_row_name(right.name) in names:
            raise UserError(
                f"two predictions folders are called '{right.name}': name them, --predictions a={path} b=..."
            )
        swapped = match_predictions(Path(swapped_folder), pairs, None, request.match, others)
        check_same_noise(right, swapped)
        scorer = Scorer(folder, (right, swapped), grouping, (), (), request.size)
        scores += [score for pair in pairs if (score := score_swap(scorer, pair, right, swapped))]
        names.append(right.name)
    notes = [
        "Change: mean absolute difference (of 255 levels) between predictions of the right and the swapped sentence.",
        "Gain: PSNR with the right sentence minus PSNR with the swapped one; nearer: share of pairs with a gain.",
    ]
    wanted = Counter(grouping(pair) for pair in pairs)
    return make_table(scores, SWAP_KEYS, dict.fromkeys(names, MODEL), wanted, notes)


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m metrics.instruction_swap", description=__doc__.split("\n")[0])
    add_data_options(parser)
    add_group_option(parser)
    add_prediction_options(parser)
    parser.add_argument("--swapped", nargs="*", default=[], metavar="FOLDER", help="predictions for the swapped data")
    parser.add_argument("--swapped-data", type=Path, help="write a copy of --data with swapped sentences here")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write swapped data, or print the table of two predictions folders; returns the exit code."""
    options = make_parser().parse_args(argv)

    def run() -> None:
        data = read_data_options(options)
        if options.swapped_data:
            pairs = data.read()
            write_swapped_data(data.root, pairs, options.swapped_data)
            sys.stdout.write(f"{len(pairs)} pairs with swapped sentences: {options.swapped_data}\n")
            return
        given = (tuple(options.predictions), tuple(options.swapped))
        table = measure_swap(SwapRequest(data, *given, options.match, options.group, options.size))
        print_table(Console(), table, f"{options.data}: right against swapped sentences")
        if options.output:
            for name, text in (("csv", to_csv(table)), ("json", to_json(table)), ("md", to_markdown(table))):
                write_text(options.output / f"swap.{name}", text)

    return run_command("python -m metrics.instruction_swap", run)


if __name__ == "__main__":
    sys.exit(main())
