import math

import pytest

from metrics.comparison.rows import MODEL
from metrics.comparison.scoring import PairScore
from metrics.comparison.table import ALL, IDENTICAL_DB, make_table


def make_scores(values: dict[str, list[float]], row: str = "model") -> list[PairScore]:
    """One score a value, by group."""
    return [
        PairScore(row, f"{group}/{i}", group, (group, i), {"psnr": value})
        for group, numbers in values.items()
        for i, value in enumerate(numbers)
    ]


def test_mean_line_is_weighted_by_sample_count():
    scores = make_scores({"a": [10.0, 20.0, 30.0], "b": [40.0]})
    table = make_table(scores, ["psnr"], {"model": MODEL}, {"a": 3, "b": 1})
    assert [(row.group, row.estimates["psnr"].mean) for row in table.rows] == [
        ("a", 20.0),
        ("b", 40.0),
        (ALL, 25.0),
    ]


def test_order_of_scores_changes_nothing():
    scores = make_scores({"a": [10.0, 20.5, 30.1], "b": [40.0]})
    tables = [make_table(order, ["psnr"], {"model": MODEL}, {"a": 3, "b": 1}) for order in (scores, scores[::-1])]
    assert repr(tables[0]) == repr(tables[1])


def test_missing_predictions_show_in_the_count():
    table = make_table(make_scores({"a": [10.0]}), ["psnr"], {"model": MODEL, "absent": MODEL}, {"a": 3})
    assert [(row.name, row.num_pairs, row.num_wanted) for row in table.rows[:2]] == [
        ("model", 1, 3),
        ("absent", 0, 3),
    ]
    assert math.isnan(table.rows[1].estimates["psnr"].mean)


def test_identical_pictures_count_as_a_stated_number():
    table = make_table(make_scores({"a": [math.inf, 20.0]}), ["psnr"], {"model": MODEL}, {"a": 2})
    assert table.rows[0].estimates["psnr"].mean == pytest.approx((IDENTICAL_DB + 20.0) / 2)
    assert "1 pictures equal the truth" in table.notes[0]
