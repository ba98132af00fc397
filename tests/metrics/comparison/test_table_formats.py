import csv
import io
import json

from rich.console import Console

from metrics.comparison.scoring import PairScore
from metrics.comparison.table import make_table
from metrics.comparison.table_formats import is_best, to_csv, to_json, to_markdown, to_rich
from tests.metrics.comparison.test_table import make_scores


def _table():
    scores = make_scores({"a": [10.0, 12.0]}, "copy") + make_scores({"a": [20.0]}, "model")
    return make_table(scores, ["psnr"], ["copy", "model"], {"a": 2}, ["A note."], {"data": "x"})


def test_csv_has_plain_numbers_and_an_empty_cell_for_an_unknown_one():
    rows = list(csv.DictReader(io.StringIO(to_csv(_table()))))
    assert [(row["group"], row["row"], row["pairs"], row["of"], row["psnr"]) for row in rows[:2]] == [
        ("a", "copy", "2", "2", "11"),
        ("a", "model", "1", "2", "20"),
    ]
    assert rows[0]["psnr_low"] and not rows[1]["psnr_low"]


def test_json_is_strict_and_complete():
    content = json.loads(to_json(_table()), parse_constant=lambda name: 1 / 0)
    assert content["notes"] == ["A note."]
    assert content["provenance"] == {"data": "x"}
    assert content["lines"][1]["estimates"]["psnr"]["low"] is None


def test_markdown_marks_the_best_and_the_incomplete():
    text = to_markdown(_table())
    assert "| a | copy | 11.00 [10.00–12.00] | 2 |" in text
    assert "|  | model | **20.00** | 1 of 2 |" in text
    assert text.endswith("- A note.\n")


def test_best_follows_the_direction_of_the_measure():
    table = _table()
    assert [is_best(table, line, "psnr") for line in table.lines[:2]] == [False, True]


def test_terminal_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    (part,) = to_rich(_table(), "title")
    console.print(part)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("model" in line and "20.00" in line and "1 of 2" in line for line in lines)


def test_more_measures_than_fit_come_in_parts():
    keys = ["psnr", "ssim", "ssim_motion", "block_error"]
    scores = [PairScore("m", f"{i}", "a", ("a", i), dict.fromkeys(keys, 0.1 * i)) for i in range(3)]
    parts = to_rich(make_table(scores, keys, ["m"], {"a": 3}), "title")
    assert [len(part.columns) for part in parts] == [1 + 3 + 1, 1 + 1 + 1]
