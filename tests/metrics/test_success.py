"""Laws of the success table: a row a task, policies paired by seed or set against one, files that say the same."""

import csv

import pytest

from commands.errors import UserError
from formats.rollouts_folder import append_rollout
from metrics.comparison.predictions import parse_named_folders
from metrics.success import ALL, compare_pairs, main, summarise
from tests.formats.test_rollouts_folder import make_rollout


def test_a_row_a_task_and_one_for_all():
    rollouts = [make_rollout(seed, seed < 3, task) for task in ("push", "pull") for seed in range(4)]
    rows = summarise("ours", rollouts)
    found = [(row.task, row.successes, row.num_episodes) for row in rows]
    assert found == [("pull", 3, 4), ("push", 3, 4), (ALL, 6, 8)]


def test_policies_are_compared_on_the_seeds_that_both_played():
    ours = [make_rollout(seed, True) for seed in range(10)]
    theirs = [make_rollout(seed, seed < 4) for seed in range(2, 12)]
    (row,) = compare_pairs("ours", ours, "theirs", theirs)
    assert (row.shares.num_seeds, row.shares.only_first, row.shares.only_second) == (8, 6, 0)
    assert row.shares.p_value == pytest.approx(2 * 0.5**6)
    assert compare_pairs("ours", ours, "ours", ours)[0].shares.p_value == 1.0


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    for name, limit in (("a", 5), ("b", 2)):
        (tmp_path / name).mkdir()
        for seed in range(6):
            append_rollout(tmp_path / name, make_rollout(seed, seed < limit, seconds=(0.02, 0.03)))
    assert main(["--rollouts", f"first={tmp_path / 'a'}", str(tmp_path / "b"), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| first | push | 5 of 6 = 83% |" in printed and "| first | b | push | 6 | 3 | 0 | 0.25 |" in printed
    assert (tmp_path / "out/success.md").read_text() == printed
    rows = list(csv.DictReader((tmp_path / "out/success.csv").read_text().splitlines()))
    assert [row["successes"] for row in rows] == ["5", "2"]
    assert (tmp_path / "out/success.png").stat().st_size > 1000


def test_ablations_are_rows_against_one(tmp_path, capsys):
    for name, limit, first in (("whole", 6, 0), ("no_video", 2, 0), ("elsewhere", 9, 50)):
        (tmp_path / name).mkdir()
        for seed in range(8):
            append_rollout(tmp_path / name, make_rollout(first + seed, seed < limit))
    arguments = ["--rollouts", *(str(tmp_path / name) for name in ("whole", "no_video", "elsewhere"))]
    assert main([*arguments, "--base", "whole"]) == 0
    base, ablated, other = capsys.readouterr().out.splitlines()[2:5]
    assert base.startswith("| whole | push | 6 of 8 = 75% |") and "base" in base
    assert "| -50.0 [-" in ablated and ablated.endswith("| 8 | 0 | 4 | 0.125 |")
    assert "no seed in common" in other
    assert main([*arguments, "--base", "none"]) == 2 and "none of the rows" in capsys.readouterr().err


def test_bad_folders_are_one_sentence(tmp_path, capsys):
    assert main(["--rollouts", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("python -m metrics.success: no rollouts in")
    with pytest.raises(UserError, match="two are called a"):
        parse_named_folders(["x/a", "y/a"])
