"""Scores against the time ahead: a table and a curve of each row, such as drawn directly against fed back.

    python -m dataset_tools.prepare_dataset --episodes data/sim --output data/horizons --pairing multi_horizon \
        --horizon-seconds 1 2 4 6 --stride 5 --size 128 --all-test
    python edit_cli.py --input data/horizons --output direct
    python edit_cli.py --input data/horizons --output fed_back --chain 1
    python -m metrics.compute_metrics --data data/horizons --split test --predictions direct fed_back --output scores
    python -m metrics.by_horizon --data data/horizons --scores scores --output horizons
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.errors import UserError
from commands.run import run_command
from formats.atomic import write_text
from formats.tables import to_csv, to_markdown
from metrics.comparison.bootstrap import Estimate
from metrics.comparison.pairs import read_pairs
from metrics.comparison.table_formats import format_estimate
from metrics.measures.columns import MEASURES
from metrics.reports.runs import Results, estimate_entries, main_results, read_run


@dataclass(frozen=True)
class HorizonRow:
    """One row of a score table at one time ahead."""

    row: str
    seconds: float
    num_pairs: int
    estimates: dict[str, Estimate]  # by measure key


def group_by_horizon(results: Results, seconds: dict[str, float]) -> list[HorizonRow]:
    """Rows of the table in their order, each at rising times; a measure that no pair has is left out.

    Args:
        results: scores pair by pair.
        seconds: ahead, by pair id.
    """
    keys = [key for key in results.table.keys if key in MEASURES]
    found = []
    for row in dict.fromkeys(entry["row"] for entry in results.pairs):
        by_time: dict[float, list[dict]] = {}
        for entry in results.entries(row):
            if entry["pair_id"] in seconds:
                by_time.setdefault(seconds[entry["pair_id"]], []).append(entry)
        for time, members in sorted(by_time.items()):
            estimates = {key: estimate for key in keys if (estimate := estimate_entries(members, key)) is not None}
            found.append(HorizonRow(row, time, len(members), estimates))
    return found


def run(argv: Sequence[str] | None = None) -> None:
    """Write table and figures, print the table."""
    parser = argparse.ArgumentParser(prog="python -m metrics.by_horizon", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared folder that was scored; knows the times")
    parser.add_argument("--scores", required=True, help="output folder of metrics.compute_metrics")
    parser.add_argument("--output", type=Path, required=True, help="folder to write by_horizon.md, .csv and figures to")
    opt = parser.parse_args(argv)
    known = {pair.pair_id: pair.horizon_seconds for pair in read_pairs(opt.data) if pair.horizon_seconds is not None}
    results = main_results(read_run(opt.scores))
    rows = [] if results is None else group_by_horizon(results, known)
    if not rows:
        raise UserError(f"{opt.scores} has no scores of pairs whose time ahead {opt.data} knows; score that data set.")
    keys = [key for key in results.table.keys if any(key in row.estimates for row in rows)]
    cells = [[row.row, f"{row.seconds:g}", *_texts(row, keys), str(row.num_pairs)] for row in rows]
    headings = ["", "seconds ahead", *(MEASURES[key].heading for key in keys), "n"]
    table = to_markdown(headings, cells, range(1, len(headings))) + "\n"
    write_text(opt.output / "by_horizon.md", table)
    parts = [f"{key}{part}" for key in keys for part in ("", "_low", "_high")]
    write_text(
        opt.output / "by_horizon.csv", to_csv(["row", "seconds", *parts, "n"], [_numbers(row, keys) for row in rows])
    )
    files = _write_figures(rows, keys, opt.output)
    sys.stdout.write(table + "".join(f"{file}\n" for file in files))


def _texts(row: HorizonRow, keys: Sequence[str]) -> list[str]:
    return [format_estimate(key, row.estimates[key]) if key in row.estimates else "-" for key in keys]


def _numbers(row: HorizonRow, keys: Sequence[str]) -> list:
    known = (row.estimates.get(key) for key in keys)
    numbers = [["", "", ""] if one is None else [one.mean, one.low, one.high] for one in known]
    return [row.row, row.seconds, *sum(numbers, []), row.num_pairs]


def _write_figures(rows: Sequence[HorizonRow], keys: Sequence[str], folder: Path) -> list[Path]:
    """A figure a measure: a line a row against seconds."""
    from metrics.reports.figures import Series, plot_series, save_figure  # noqa: PLC0415 - matplotlib

    files = []
    for key in keys:
        series = []
        for name in dict.fromkeys(row.row for row in rows):
            mine = [row for row in rows if row.row == name and key in row.estimates]
            points = [(row.estimates[key].mean, row.estimates[key].low, row.estimates[key].high) for row in mine]
            if mine:
                series.append(Series(name, tuple(row.seconds for row in mine), *zip(*points, strict=True)))
        files += save_figure(plot_series(series, "seconds ahead", MEASURES[key].heading), folder / key, (".png",))
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Tabulate and draw; returns the exit code."""
    return run_command("python -m metrics.by_horizon", lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
