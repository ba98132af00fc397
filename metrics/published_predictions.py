"""Predictions that the authors of two papers published, scored in both conventions.

    python -m metrics.published_predictions --data <data> --output metrics/results/published

Reads robotwin_pairs/published_predictions (morpheus, 481) and robotwin_pairs_wide/published_predictions (afp, 240) and
compares at 256 x 256, the size of the predictions. Writes a table each, the baselines on episodes that no training pair
comes from, facts.json (specks of wrap-around; which camera the predictions show), and a picture that shows numbers
only: how uint8 wrap-around arises, and how often its specks occur.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from commands.run import run_command, show_progress
from formats.atomic import write_json, write_text
from formats.prepared_folder import data_root
from metrics.comparison.pairs import read_pairs
from metrics.comparison.predictions import match_predictions
from metrics.comparison.resizing import read_pixels
from metrics.compute_metrics import run as compute_metrics
from metrics.measures.psnr import measure_psnr
from metrics.measures.ssim import measure_ssim
from metrics.measures.wrap_around import speck_share
from metrics.reports.figures import COLOURS, HATCHES, save_figure

SIZE = 256  # of the published pictures
MEASURES = "psnr,ssim,psnr_motion,iou_motion,copyness"
BASELINE_OPTIONS = "--episodes 64-79 --train-split all --train-episodes 0-63 --size 128 --group step"
SETS = {"morpheus": "robotwin_pairs", "afp": "robotwin_pairs_wide"}  # pairs that published predictions lie beside


def score_published(data: Path, name: str, output: Path) -> list[Path]:
    """Write <name>_published.csv and .md; the command that they came from stands in the second."""
    folder = data / SETS[name]
    arguments = ["--data", str(folder), "--predictions", f"{name}={folder / 'published_predictions'}"]
    arguments += ["--size", str(SIZE), "--convention", "as_published", "--measures", MEASURES]
    return _keep_table(arguments, output / f"{name}_published", data)


def score_baselines(data: Path, output: Path) -> list[Path]:
    """Write baselines.csv and .md: copy, mean, nearest on robotwin_pairs; train episodes 0-63, test 64-79."""
    folder = str(data / SETS["morpheus"])
    arguments = ["--data", folder, "--train-data", folder, *BASELINE_OPTIONS.split()]
    return _keep_table(arguments, output / "baselines", data)


def _keep_table(arguments: list[str], target: Path, data: Path) -> list[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        compute_metrics([*arguments, "--output", scratch])
        target.parent.mkdir(parents=True, exist_ok=True)
        csv_file, text_file = target.with_suffix(".csv"), target.with_suffix(".md")
        shutil.copyfile(Path(scratch) / "table.csv", csv_file)
        command = " ".join(["python -m metrics.compute_metrics", *arguments]).replace(str(data), "<data>")
        write_text(text_file, f"`{command}`\n\n" + (Path(scratch) / "table.md").read_text(encoding="utf-8"))
    return [csv_file, text_file]


def measure_specks(data: Path, name: str, every: int = 1) -> dict[str, list[float]]:
    """Specks of wrap-around in 1000 values, of the published predictions and of the true frames at the same size."""
    root = data_root(data / SETS[name])
    pairs = read_pairs(root)[::every]
    predictions = match_predictions(data / SETS[name] / "published_predictions", pairs)
    shares: dict[str, list[float]] = {name: [], f"truth of {name}": []}
    for pair in pairs:
        frames = (read_pixels(predictions.files[pair.pair_id], SIZE), read_pixels(pair.target_path(root), SIZE))
        for row, frame in zip(shares.values(), frames, strict=True):
            row.append(1000.0 * speck_share(frame))
    return shares


def compare_cameras(data: Path) -> dict[str, dict[str, float]]:
    """PSNR and SSIM of morpheus' last prediction of each episode against the last true frame of either camera.

    Both sets hold the same scenes under the same episode numbers; the frames are not the same instant, so that the
    comparison favours the first camera. Which camera do the predictions show?
    """
    narrow, wide = (data / folder for folder in SETS.values())
    last = {(p.task, p.episode): p for p in sorted(read_pairs(narrow), key=lambda pair: pair.source_index)}
    others = {(p.task, p.episode): p for p in read_pairs(wide)}
    predictions = match_predictions(narrow / "published_predictions", list(last.values()))
    scores: dict[str, list[tuple[float, float]]] = {"its own pairs' camera": [], "the wider camera": []}
    for key in sorted(last.keys() & others.keys()):
        frame = read_pixels(predictions.files[last[key].pair_id], SIZE)
        paths = (last[key].target_path(data_root(narrow)), others[key].target_path(data_root(wide)))
        for rows, path in zip(scores.values(), paths, strict=True):
            truth = read_pixels(path, SIZE)
            rows.append((measure_psnr(frame, truth), measure_ssim(frame, truth)))
    return {
        name: {"episodes": len(rows), "psnr": round(float(psnr), 2), "ssim": round(float(ssim), 4)}
        for name, rows in scores.items()
        for psnr, ssim in [np.mean(rows, axis=0)]
    }


def plot_wrap_around(shares: dict[str, list[float]]) -> Figure:
    """Left: what a value becomes with and without clamping. Right: specks in published predictions and true frames."""
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = np.arange(-40, 297)
    wrapped = (values % 256).astype(float)
    wrapped[np.flatnonzero(np.abs(np.diff(wrapped)) > 1)] = np.nan  # no line across the jump
    left.plot(values, wrapped, color=COLOURS[1], linestyle="--", label="cast to uint8 without clamping")
    left.plot(values, np.clip(values, 0, 255), color=COLOURS[0], linewidth=1.4, label="clamped to 0..255")
    left.set(xlabel="value before the cast", ylabel="pixel in the file", title="257 becomes 1, -2 becomes 254")
    left.set_ylim(-15, 335)
    left.legend(fontsize=8, frameon=False, loc="upper center")
    bins = np.linspace(0.0, max(max(row) for row in shares.values()), 40)
    for i, (name, row) in enumerate(shares.items()):
        right.hist(row, bins, histtype="stepfilled", alpha=0.4, hatch=HATCHES[i], color=COLOURS[i], label=name)
    right.set(
        xlabel="specks in 1000 values", ylabel="pictures", yscale="log", title="isolated jumps of 120 levels or more"
    )
    right.legend(fontsize=8, frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(9)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Score, draw, print the files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metrics.published_predictions", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds robotwin_pairs and robotwin_pairs_wide"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables and the picture")
    options = parser.parse_args(argv)

    def run() -> None:
        files = [file for name in SETS for file in score_published(options.data, name, options.output)]
        files += score_baselines(options.data, options.output)
        shares: dict[str, list[float]] = {}
        for name in show_progress(SETS, "specks"):
            shares |= measure_specks(options.data, name)
        facts = {"specks_in_1000_values": _summarise(shares), "cameras": compare_cameras(options.data)}
        write_json(options.output / "facts.json", facts)
        files += save_figure(plot_wrap_around(shares), options.output / "wrap_around", (".png",))
        sys.stdout.write("".join(f"{file}\n" for file in files))

    return run_command("python -m metrics.published_predictions", run)


def _summarise(shares: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Number of pictures, least, median and greatest share of specks in 1000 values."""
    summary = {}
    for name, row in shares.items():
        least, median, greatest = (round(float(value), 3) for value in np.percentile(row, (0, 50, 100)))
        summary[name] = {"pictures": len(row), "least": least, "median": median, "greatest": greatest}
    return summary


if __name__ == "__main__":
    sys.exit(main())
