"""Laws of CALVIN's measure: shares fall, their sum is the average length; a malformed file is one sentence."""

import json

import pytest

from metrics.chains import LENGTH, main, measure_chains


def test_the_average_length_is_the_sum_of_the_shares():
    result = measure_chains([5, 3, 0, 1, 1, 5, 2, 4])
    assert result.shares == (7 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8)
    assert sum(result.shares) == pytest.approx(result.average_length.mean) == 21 / 8
    assert result.average_length.low < 21 / 8 < result.average_length.high
    assert all(low <= share <= high for share, (low, high) in zip(result.shares, result.intervals, strict=True))


def test_the_command_prints_a_row_a_policy(tmp_path, capsys):
    for name, completed in (("ours", 5), ("none", 0)):
        line = json.dumps({"completed": completed, "tasks": ["open_drawer"]}) + "\n"
        (tmp_path / f"{name}.jsonl").write_text(10 * line)
    files = [f"{name}={tmp_path / name}.jsonl" for name in ("ours", "none")]
    assert main(["--chains", *files, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| ours | 10 | 100.0% [72.2%–100.0%] |" in printed and "| 5.00 [5.00–5.00] |" in printed
    assert (tmp_path / "out/chains.md").read_text() == printed
    assert json.loads((tmp_path / "out/chains.json").read_text())["none"]["shares"] == [0.0] * LENGTH


def test_one_chain_has_no_interval_of_lengths(tmp_path, capsys):
    (tmp_path / "one.jsonl").write_text('{"completed": 3}\n')
    assert main(["--chains", str(tmp_path / "one.jsonl")]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith("| 3.00 |")


@pytest.mark.parametrize(
    ("text", "says"), [('{"completed": 6}\n', "6 tasks of 5"), ("", "holds no chains"), ("{}\n", "completed")]
)
def test_bad_files_are_one_sentence(tmp_path, capsys, text, says):
    (tmp_path / "a.jsonl").write_text(text)
    assert main(["--chains", str(tmp_path / "a.jsonl")]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
