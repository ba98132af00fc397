"""Published InstructPix2Pix folders of pairs to one prepared folder, split by episode.

    python -m dataset_tools.prepare_pairs --pairs "=<data>/robotwin_pairs" ", wide camera=<data>/robotwin_pairs_wide" \\
        --train 0-63 --test 64-79 --size 128 --output data/robotwin_pairs

What such a folder does not know, an index.csv beside it says: sample, task, episode, src_frame, dst_frame. The same
episode number means the same scene in every folder, so a split holds for all of them. What stands before the last "="
of --pairs is appended to the folder's sentences, so that the model is told which camera it looks through. Pairs of
other episodes than those named are never opened.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from commands.errors import UserError
from commands.run import run_command, show_progress
from dataset_tools.preparing.splits import parse_numbers
from formats.atomic import atomic_path, write_json
from formats.pictures import read_picture
from formats.prepared_folder import INDEX_CSV, FramePair, data_root, read_indexed, write_manifest


@dataclass(frozen=True)
class Source:
    """A folder of pairs, and the ending of its sentences."""

    ending: str
    folder: Path

    @staticmethod
    def parse(text: str) -> "Source":
        """From "<ending>=<folder>", or a folder alone."""
        ending, _, folder = text.rpartition("=")
        return Source(ending, Path(folder))

    def read_pairs(self, splits: dict[int, str]) -> list[FramePair]:
        """Pairs of the episodes that have a split, by task, episode and frame; sample and seed are the folder's own.

        Raises:
            UserError: if a pair's task, episode or frame is not known, or no pair is left.
        """
        pairs = read_indexed(self.folder)
        unknown = next((pair for pair in pairs if None in (pair.task, pair.episode, pair.horizon)), None)
        if unknown is not None:
            raise UserError(
                f"{self.folder}: task, episode and frames of the sample {unknown.sample} are not known; write an "
                f"{INDEX_CSV} with the columns sample, task, episode, src_frame, dst_frame."
            )
        found = [self._place(pair, splits[pair.episode]) for pair in pairs if pair.episode in splits]
        if not found:
            raise UserError(f"{self.folder} has no pairs of these episodes; see --train and --test.")
        return sorted(found, key=lambda pair: (pair.task, pair.episode, pair.source_index))

    def _place(self, pair: FramePair, split: str) -> FramePair:
        name = f"{pair.task}/{pair.episode}/{pair.source_index}-{pair.target_index}"
        return replace(
            pair,
            pair_id=f"{name}/{self.folder.name}" if self.ending else name,
            instruction=pair.instruction + self.ending,
            split=split,
            split_rule="episode",
            origin=self.folder.name,
        )


def prepare(sources: Sequence[Source], splits: dict[int, str], output: Path, size: int | None) -> dict[str, int]:
    """Write the pairs of all folders; counts by split.

    Pictures are area averages of size x size, as `metrics` makes them, without loss; None keeps their size. Samples
    keep their names, by which predictions that were published with them are found.

    Raises:
        UserError: if two folders have a sample of the same name.
    """
    counts: dict[str, int] = {}
    written: list[FramePair] = []
    owners: dict[str, Source] = {}
    for source in sources:
        for pair in show_progress(source.read_pairs(splits), source.folder.name):
            if owners.setdefault(pair.sample, source) is not source:
                raise UserError(
                    f"{owners[pair.sample].folder} and {source.folder} both have a sample {pair.sample}; rename one of "
                    "them, or prepare them apart."
                )
            new = replace(pair, suffix=".png")
            for old_path, new_path in zip(pair.paths(data_root(source.folder)), new.paths(output), strict=True):
                picture = Image.fromarray(read_picture(old_path).pixels)
                if size is not None:
                    picture = picture.resize((size, size), Image.Resampling.BOX)
                new_path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(new_path) as draft:
                    picture.save(draft, format="PNG")
            write_json(output / new.sample / "prompt.json", {"edit": new.instruction})
            written.append(new)
            counts[new.split] = counts.get(new.split, 0) + 1
    description = {
        "sources": [[source.ending, source.folder.name] for source in sources],
        "size": size,
        "pairs": counts,
    }
    write_manifest(output, written, description)
    return counts


def make_parser() -> argparse.ArgumentParser:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataset_tools.prepare_pairs",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", nargs="+", type=Source.parse, required=True, metavar="[ENDING=]FOLDER", help="folders of pairs")
    add("--train", type=parse_numbers, required=True, help="episodes: 0-63")
    add("--val", type=parse_numbers, default=frozenset())
    add("--test", type=parse_numbers, default=frozenset())
    add("--size", type=int, help="square of so many pixels, area average (default: as they are)")
    add("--output", type=Path, required=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prepare, say how many; see commands.run for how it ends."""

    def body() -> None:
        args = make_parser().parse_args(argv)
        splits: dict[int, str] = {}
        for split in ("train", "val", "test"):
            twice = sorted(getattr(args, split) & splits.keys())
            if twice:
                raise UserError(
                    f"episode {twice[0]} is in {splits[twice[0]]} and in {split}; an episode has one split."
                )
            splits |= dict.fromkeys(getattr(args, split), split)
        counts = prepare(args.pairs, splits, args.output, args.size)
        said = ", ".join(f"{count} {split}" for split, count in counts.items())
        sys.stdout.write(f"{args.output}: {said}\n")

    return run_command("python -m dataset_tools.prepare_pairs", body)


if __name__ == "__main__":
    sys.exit(main())
