"""Inspection of prepared folders: counts, horizons, motion, duplicates, leaks, as a report and as pictures.

A leak is an episode (a task and a number) that is used for both training and testing. All the given folders are
searched together, because RoboTwin episode numbers are seeds: the same task and number in two people's data sets is the
same scene (measured on 300 of 300 episodes of two sets).
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from formats.atomic import atomic_path, inside, read_file
from formats.pictures import read_picture
from formats.prepared_folder import SPLITS, FramePair, read_manifest

MOTION_SAMPLE = 1000  # pairs a folder that motion is measured on, evenly spread
HELD_OUT = ("val", "test")
CELL = 128  # pixels, height of a picture on the sheet
CAPTION = 30  # pixels under a row
GAP = 8
COLUMNS = 3  # pairs side by side
SHEET_PAIRS = 12
DIFFERENCE_GAIN = 2  # so that small motion shows
BAR = 40  # characters of the report's longest bar
LISTED = 10  # leaks named before "and n more"


@dataclass(frozen=True)
class TaskSummary:
    """One task of one prepared folder."""

    task: str
    pairs: dict[str, int]  # split => number of pairs
    episodes: dict[str, int]  # split => number of episodes; empty where unknown
    horizons: tuple[int, ...]  # frames, distinct, rising
    seconds: tuple[float, ...]  # the same in seconds, where the rate is known
    instructions: tuple[str, ...]  # distinct


@dataclass(frozen=True)
class Inspection:
    """What one prepared folder holds."""

    folder: Path
    pairs: tuple[FramePair, ...]
    tasks: tuple[TaskSummary, ...]
    motion: np.ndarray  # (M,) mean |target - source| of a sample of pairs, in 0..255
    static: int  # pairs whose two pictures are the same bytes
    repeated: int  # source pictures that belong to more than one episode


@dataclass(frozen=True)
class Leak:
    """An episode that is trained on in one place and held out in another."""

    task: str
    episode: int
    trained_in: tuple[str, ...]  # folders
    held_out_in: tuple[str, ...]


def inspect_folder(folder: Path) -> Inspection:
    """Counts, horizons, motion and duplicates of a prepared folder.

    Raises:
        UserError: as read_manifest raises it.
    """
    pairs = read_manifest(folder)
    by_task: dict[str, list[FramePair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair.task or "unknown"].append(pair)
    tasks = tuple(_summarise(task, members) for task, members in sorted(by_task.items()))
    static, repeated = count_duplicates(folder, pairs)
    return Inspection(Path(folder), tuple(pairs), tasks, measure_motions(folder, pairs), static, repeated)


def find_leaks(inspections: Sequence[Inspection]) -> list[Leak]:
    """Episodes that are trained on in one of the folders and held out in the same or another."""
    places: dict[tuple[str, int], dict[bool, set[str]]] = defaultdict(lambda: {True: set(), False: set()})
    for inspection in inspections:
        for pair in inspection.pairs:
            if pair.task is not None and pair.episode is not None and pair.split is not None:
                places[pair.task, pair.episode][pair.split in HELD_OUT].add(str(inspection.folder))
    return [
        Leak(task, episode, tuple(sorted(where[False])), tuple(sorted(where[True])))
        for (task, episode), where in sorted(places.items())
        if where[True] and where[False]
    ]


def measure_motions(folder: Path, pairs: Sequence[FramePair]) -> np.ndarray:
    """Mean |target - source| of an evenly spread sample of pairs, (M,) in 0..255."""
    chosen = spread(pairs, MOTION_SAMPLE)
    motions = []
    for pair in chosen:
        source, target = (read_picture(path).pixels.astype(np.int16) for path in pair.paths(folder))
        motions.append(np.abs(target - source).mean() if source.shape == target.shape else np.nan)
    return np.array(motions)


def count_duplicates(folder: Path, pairs: Sequence[FramePair]) -> tuple[int, int]:
    """Pairs whose pictures are the same bytes, and source pictures that two episodes share."""
    static = 0
    owners: dict[bytes, set[tuple[str | None, int | None]]] = defaultdict(set)
    for pair in pairs:
        source, target = (hashlib.sha256(read_file(path)).digest() for path in pair.paths(folder))
        static += source == target
        owners[source].add((pair.task, pair.episode))
    return static, sum(len(who) > 1 for who in owners.values())


def spread(items: Sequence, count: int) -> list:
    """At most `count` items, evenly spread, the first and the last included."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]


def _summarise(task: str, pairs: Sequence[FramePair]) -> TaskSummary:
    counts: dict[str, int] = defaultdict(int)
    episodes: dict[str, set[int]] = defaultdict(set)
    for pair in pairs:
        counts[pair.split or "none"] += 1
        if pair.episode is not None:
            episodes[pair.split or "none"].add(pair.episode)
    return TaskSummary(
        task=task,
        pairs=dict(counts),
        episodes={split: len(numbers) for split, numbers in episodes.items()},
        horizons=tuple(sorted({pair.horizon for pair in pairs if pair.horizon is not None})),
        seconds=tuple(sorted({round(pair.horizon_seconds, 2) for pair in pairs if pair.horizon_seconds is not None})),
        instructions=tuple(sorted({pair.instruction for pair in pairs})),
    )


def write_pictures(inspections: Sequence[Inspection], output: Path) -> list[Path]:
    """Contact sheets (in a folder of their own where there are several prepared folders) and motion.png."""
    written = []
    for number, inspection in enumerate(inspections):
        place = output if len(inspections) == 1 else output / f"{number}_{inspection.folder.resolve().name}"
        written += write_sheets(inspection, place)
    write_motion_histogram(inspections, output / "motion.png")
    return [*written, output / "motion.png"]


def make_report(inspections: Sequence[Inspection], leaks: Sequence[Leak]) -> str:
    """Counts, motion and duplicates of each folder as text, then the leaks."""
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


def draw_sheet(folder: Path, pairs: Sequence[FramePair], title: str) -> Image.Image:
    """Source, target and |difference| of up to 12 pairs, evenly spread over those given."""
    chosen = spread(pairs, SHEET_PAIRS)
    tiles = [_draw_pair(folder, pair) for pair in chosen]
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + CAPTION + GAP), "white")
    ImageDraw.Draw(sheet).text((GAP, GAP), title, fill="black", font=ImageFont.load_default(16))
    for position, tile in enumerate(tiles):
        row, column = divmod(position, COLUMNS)
        sheet.paste(tile, (GAP + column * (width + GAP), CAPTION + GAP + row * (height + GAP)))
    return sheet


def write_sheets(inspection: Inspection, output: Path) -> list[Path]:
    """contact_<task>.png for each task of a folder; returns the files."""
    written = []
    for summary in inspection.tasks:
        pairs = [pair for pair in inspection.pairs if (pair.task or "unknown") == summary.task]
        path = inside(output, f"contact_{summary.task}.png", "the sheet")
        sheet = draw_sheet(
            inspection.folder, pairs, f"{summary.task}: current | future | difference x{DIFFERENCE_GAIN}"
        )
        with atomic_path(path) as draft:
            sheet.save(draft)
        written.append(path)
    return written


def write_motion_histogram(inspections: Sequence[Inspection], path: Path) -> None:
    """Histogram of mean |target - source| of each folder."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (takes half a second, and only this picture needs it)

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    top = max((float(np.nanmax(inspection.motion)) for inspection in inspections), default=1.0)
    edges = np.linspace(0, max(top, 1.0), 41)
    for inspection in inspections:
        axes.hist(inspection.motion, bins=edges, histtype="step", label=str(inspection.folder))
    axes.set_xlabel("motion: mean |future - current| of a pair, in 0..255")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=120)


def _draw_pair(folder: Path, pair: FramePair) -> Image.Image:
    source, target = (read_picture(path).pixels for path in pair.paths(folder))
    if source.shape != target.shape:
        target = np.asarray(Image.fromarray(target).resize((source.shape[1], source.shape[0])))
    difference = np.abs(target.astype(np.int16) - source.astype(np.int16)) * DIFFERENCE_GAIN
    pictures = [_to_cell(pixels) for pixels in (source, target, difference.clip(0, 255).astype(np.uint8))]
    width = sum(picture.width for picture in pictures) + 4
    tile = Image.new("RGB", (width, CELL + CAPTION), "white")
    left = 0
    for picture in pictures:
        tile.paste(picture, (left, 0))
        left += picture.width + 2
    span = f"+{pair.horizon}" if pair.horizon is not None else ""
    seconds = f" = {pair.horizon_seconds:.2f} s" if pair.horizon_seconds is not None else ""
    draw = ImageDraw.Draw(tile)
    draw.text((0, CELL + 2), f"{pair.pair_id} [{pair.split}] {span}{seconds}", fill="black")
    draw.text((0, CELL + 15), pair.instruction, fill="gray")
    return tile


def _to_cell(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels)
    width = round(picture.width * CELL / picture.height)
    resample = Image.Resampling.NEAREST if picture.height < CELL else Image.Resampling.LANCZOS
    return picture.resize((width, CELL), resample)
