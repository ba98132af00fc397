"""Laws of the cold start: each side draws a frame in a process of its own."""

import json

import pytest
from PIL import Image

from benchmark import cold_start
from benchmark.__main__ import main
from benchmark.cold_start import ProcessTime


def test_a_process_is_timed_and_a_failed_one_says_what_it_said():
    done = cold_start.time_process(["-c", "print(sum(range(10**6)))"])
    assert done.output == "499999500000\n" and 0 < done.cpu_seconds < 10 and done.seconds > 0
    with pytest.raises(RuntimeError, match="there is no checkpoint"):
        cold_start.time_process(["-c", "raise SystemExit('there is no checkpoint')"])


def test_the_row_is_a_ratio_of_cpu_seconds(monkeypatch, tmp_path, capsys):
    def timed(argv, variables=None):
        what = "bare" if cold_start.IMPORTS in argv else "listing" if "-c" in argv else "ours"
        return ProcessTime(9.0, {"bare": 2.0, "listing": 7.0, "ours": 3.0}[what], "x\nloaded: matplotlib\n")

    monkeypatch.setattr(cold_start, "time_process", timed)
    assert main(["cold_start", "--rounds", "3", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "| 3 CPU s | 0 | `import torch, numpy, PIL` 2 | 1.5 | heavy modules: matplotlib |" in said
    found = json.loads((tmp_path / "cold_start.json").read_text())
    assert found["rows"][0]["peer"] == 2.0 and found["facts"]["commit"]


@pytest.mark.slow
@pytest.mark.reference
def test_both_sides_write_a_frame(tmp_path):
    pytest.importorskip("diffusers")
    cold_start.write_sides("tiny", tmp_path)
    assert cold_start.seconds_of_ours(tmp_path, "fp32") > 0 and cold_start.seconds_of_theirs(tmp_path, "fp32") > 0
    for name in ("ours.png", "theirs.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (32, 32)
