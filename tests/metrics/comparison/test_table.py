import csv
import io
import json
import math

import pytest
from rich.console import Console

from metrics.comparison.rows import COPY_KIND, MODEL, UPPER_BOUND
from metrics.comparison.scoring import PairScore
from metrics.comparison.table import ALL, IDENTICAL_DB, make_table
from metrics.comparison.table_formats import print_table, read_table, to_csv, to_json, to_markdown


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
    assert [(row.group, row.estimates["psnr"].mean) for row in table.rows] == [("a", 20.0), ("b", 40.0), (ALL, 25.0)]


def test_missing_predictions_show_in_the_count():
    table = make_table(make_scores({"a": [10.0]}), ["psnr"], {"model": MODEL, "absent": MODEL}, {"a": 3})
    assert [(row.name, row.num_pairs, row.num_wanted) for row in table.rows[:2]] == [("model", 1, 3), ("absent", 0, 3)]
    assert math.isnan(table.rows[1].estimates["psnr"].mean)


def test_identical_pictures_count_as_a_stated_number():
    table = make_table(make_scores({"a": [math.inf, 20.0]}), ["psnr"], {"model": MODEL}, {"a": 2})
    assert table.rows[0].estimates["psnr"].mean == pytest.approx((IDENTICAL_DB + 20.0) / 2)
    assert "1 pictures equal the truth" in table.notes[0]


def _table(model=(20.0,), kind=MODEL):
    scores = make_scores({"a": [10.0, 12.0]}, "copy") + make_scores({"a": list(model)}, "model")
    return make_table(scores, ["psnr"], {"copy": COPY_KIND, "model": kind}, {"a": 2}, ["A note."], {"data": "x"})


def _printed(table, width, title="title"):
    console = Console(width=width, record=True, file=io.StringIO())
    print_table(console, table, title)
    return console.export_text()


def test_csv_has_plain_numbers_and_an_empty_cell_for_an_unknown_one():
    rows = list(csv.DictReader(io.StringIO(to_csv(_table()))))
    assert [(row["group"], row["row"], row["pairs"], row["of"], row["psnr"]) for row in rows[:2]] == [
        ("a", "copy", "2", "2", "11"),
        ("a", "model", "1", "2", "20"),
    ]
    assert rows[0]["psnr_low"] and not rows[1]["psnr_low"]


def test_json_is_strict_and_complete(tmp_path):
    content = json.loads(to_json(_table()), parse_constant=lambda name: 1 / 0)
    assert content["notes"] == ["A note."]
    assert content["provenance"] == {"data": "x"}
    assert content["lines"][1]["estimates"]["psnr"]["low"] is None
    (tmp_path / "table.json").write_text(to_json(_table()))
    assert repr(read_table(tmp_path / "table.json")) == repr(_table())


def test_markdown_marks_the_best_of_the_complete_rows_and_counts_the_others():
    """A row on one pair of two answers another question: it is never bold, nor does it hide the best of the others."""
    text = to_markdown(_table())
    assert "| a | copy | **11.00 [10.00–12.00]** | 2 |" in text and "|  | model | 20.00 | 1 of 2 |" in text
    assert text.endswith("- A note.\n")
    assert "|  | model | **19.00 [18.00–20.00]** | 2 |" in to_markdown(_table((18.0, 20.0)))


def test_an_upper_bound_is_nobodys_rival_and_best_follows_the_direction_of_the_measure():
    table = _table((18.0, 20.0), UPPER_BOUND)
    assert [table.is_best(row, "psnr") for row in table.rows[:2]] == [True, False]
    scores = [PairScore(n, "p", "a", ("a", 0), {"copyness": v}) for n, v in (("x", 0.5), ("y", 0.1))]
    table = make_table(scores, ["copyness"], {"x": MODEL, "y": MODEL}, {"a": 1})
    assert [table.is_best(row, "copyness") for row in table.rows[:2]] == [False, True]


def test_a_terminal_of_any_width_shows_every_digit_and_every_count():
    keys = ["psnr", "ssim", "ssim_motion", "block_error"]
    scores = [PairScore("m", f"{i}", "a", ("a", i), dict.fromkeys(keys, 12.0 + i)) for i in range(747)]
    table = make_table(scores, keys, {"m": MODEL}, {"a": 748})
    for width in (20, 60, 80, 200):
        text = _printed(table, width)
        assert text.count("747 of 748") >= 2
        for key in keys:
            estimate = table.rows[0].estimates[key]
            digits = 4 if "ssim" in key else 2 if key == "psnr" else 1
            assert f"{estimate.mean:.{digits}f} [{estimate.low:.{digits}f}–{estimate.high:.{digits}f}]" in text
        assert width < 60 or max(map(len, text.splitlines())) <= width


def test_names_are_shown_as_they_are():
    """Brackets are rich's markup, a bar is markdown's."""
    scores = make_scores({"[/red]": [10.0]}, "[bold]a|b")
    table = make_table(scores, ["psnr"], {"[bold]a|b": MODEL}, {"[/red]": 1})
    text = _printed(table, 80, "data[/red]")
    assert "[bold]a|b" in text and "[/red]" in text and "data[/red]" in text
    assert "a\\|b" in to_markdown(table)
