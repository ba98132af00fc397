"""Laws of the success table: Wilson's and McNemar's printed values, pairs by seed, files that say the same."""

import csv

import pytest

from commands.errors import UserError
from formats.rollouts_folder import append_rollout
from metrics.success import ALL, compare_pairs, main, parse_named, summarise, wilson_interval
from tests.formats.test_rollouts_folder import make_rollout


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(10, 20, 0.299, 0.701), (0, 100, 0.0, 0.037), (90, 100, 0.826, 0.945), (50, 100, 0.404, 0.596)],
)
def test_wilson_intervals_are_the_printed_ones(k, n, low, high):
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=6e-4)


def test_a_row_a_task_and_one_for_all():
    rollouts = [make_rollout(seed, seed < 3, task) for task in ("push", "pull") for seed in range(4)]
    rows = summarise("ours", rollouts)
    found = [(row.task, row.successes, row.num_episodes) for row in rows]
    assert found == [("pull", 3, 4), ("push", 3, 4), (ALL, 6, 8)]


def test_policies_are_compared_on_the_seeds_that_both_played():
    ours = [make_rollout(seed, True) for seed in range(10)]
    theirs = [make_rollout(seed, seed < 4) for seed in range(2, 12)]
    (row,) = compare_pairs("ours", ours, "theirs", theirs)
    assert (row.num_seeds, row.only_first, row.only_second) == (8, 6, 0)
    assert row.p_value == pytest.approx(2 * 0.5**6)
    assert compare_pairs("ours", ours, "ours", ours)[0].p_value == 1.0


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


def test_bad_folders_are_one_sentence(tmp_path, capsys):
    assert main(["--rollouts", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("python -m metrics.success: no rollouts in")
    with pytest.raises(UserError, match="two folders are called a"):
        parse_named(["x/a", "y/a"])
