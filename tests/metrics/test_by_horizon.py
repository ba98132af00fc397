"""by_horizon: pairs of one time make a point, of the row that they are scored in."""

from pathlib import Path

from metrics.by_horizon import group_by_horizon
from metrics.comparison.table import ScoreTable
from metrics.reports.runs import Results


def test_each_row_has_a_point_a_time_of_the_pairs_that_are_so_far_ahead():
    """Means for decibels, the median for centimetres; a measure that a row has not is left out, and so is its time."""
    seconds = {f"p{n}": 1.0 if n < 3 else 4.0 for n in range(6)}
    entries = [
        {
            "row": row,
            "pair_id": f"p{n}",
            "group": "task",
            "episode": n,
            "psnr": level + n,
            "block_error_cm": float(n**2),
        }
        for row, level in (("direct", 20.0), ("chain", 10.0))
        for n in range(6)
        if row == "direct" or n < 3
    ]
    table = ScoreTable(("psnr", "block_error_cm", "ssim"), ())
    rows = group_by_horizon(Results(".", Path(), table, tuple(entries)), seconds)
    found = [(row.row, row.seconds, row.num_pairs, row.estimates["psnr"].mean) for row in rows]
    assert found == [("direct", 1.0, 3, 21.0), ("direct", 4.0, 3, 24.0), ("chain", 1.0, 3, 11.0)]
    assert rows[1].estimates["block_error_cm"].mean == 16.0
    assert all("ssim" not in row.estimates for row in rows)
