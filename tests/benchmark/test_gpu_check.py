"""The rehearsal of the GPU check: every section at the tiny size, so that nothing runs for the first time on a GPU."""

import json
import time
from types import SimpleNamespace

import pytest
import torch

from benchmark import gpu_check
from benchmark.__main__ import main
from benchmark.gpu_check import Check, CheckRequest, OutOfTimeError, run, time_limit
from benchmark.report import Row
from benchmark.training_steps import gradient_of_share

CPU = torch.device("cpu")


def rows_of(folder):
    return json.loads((folder / "gpu_check.json").read_text())


@pytest.mark.reference
def test_the_rehearsal_completes_and_is_not_repeated(tmp_path, capsys):
    pytest.importorskip("diffusers")
    argv = ["gpu_check", "--size", "tiny", "--output", str(tmp_path), "--rows", "I6", "T8"]
    argv += ["--only", "card", "small", "training", "inference"]
    assert main(argv) == 0
    found = rows_of(tmp_path)
    rows = {(row["section"], row["row"]): row for row in found["rows"]}
    assert {row for _, row in rows} == {"card", "small", "T8", "I6"}
    assert all(row["value"] is not None for row in found["rows"])
    assert rows["inference", "I6"]["counted"]["network calls"] == 1
    assert (
        found["facts"]["commit"]
        and "Not complete: tests, parity, processes." in (tmp_path / "gpu_check.md").read_text()
    )
    begun = time.process_time()
    assert main(argv) == 0 and time.process_time() - begun < 1.0
    assert "| I6 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.reference
def test_the_whole_rehearsal(tmp_path):
    pytest.importorskip("diffusers")
    assert main(["gpu_check", "--size", "tiny", "--output", str(tmp_path)]) == 0
    assert "Not complete: nothing." in (tmp_path / "gpu_check.md").read_text()
    parities = [row["value"] for row in rows_of(tmp_path)["rows"] if row["section"] == "parity"]
    assert len(parities) == 4 and max(parities) < 0.1


@pytest.fixture
def sections(monkeypatch):
    """Three sections in place of the real ones; the second fails once."""
    calls = []

    def good(check):
        calls.append("good")
        yield Row("a", "first", 1.0)

    def bad(check):
        calls.append("bad")
        yield Row("b", "before", 2.0)
        if calls.count("bad") == 1:
            raise ValueError("no such kernel")

    monkeypatch.setattr(gpu_check, "SECTIONS", {"good": good, "bad": bad, "last": good})
    return calls


def check(folder, **options):
    made = Check(CheckRequest("tiny", output=folder, **options))
    object.__setattr__(made.request, "only", tuple(gpu_check.SECTIONS))
    return made


def test_a_failure_is_a_row_and_only_it_is_tried_again(sections, tmp_path, monkeypatch):
    """Rows of another card or commit are not continued."""
    assert not run(check(tmp_path))
    assert "ValueError: no such kernel" in (tmp_path / "gpu_check.md").read_text()
    again = check(tmp_path)
    assert again.table.done == ["good", "last"] and run(again)
    assert sections == ["good", "bad", "good", "bad"]
    assert [row["value"] for row in rows_of(tmp_path)["rows"]] == [1.0, 2.0, 1.0]
    facts = gpu_check.machine_facts(CPU) | {"commit": "another"}
    monkeypatch.setattr(gpu_check, "machine_facts", lambda _: facts)
    assert check(tmp_path).table.done == []


def test_the_time_is_kept_and_what_is_measured_stays(tmp_path, monkeypatch):
    def endless(check):
        yield Row("a", "first", 1.0)
        time.sleep(60)

    monkeypatch.setattr(gpu_check, "SECTIONS", {"endless": endless})
    monkeypatch.setattr(gpu_check, "SPARE_SECONDS", 0)
    assert not run(check(tmp_path, minutes=0.2 / 60))
    assert rows_of(tmp_path)["rows"][0]["value"] == 1.0 and rows_of(tmp_path)["done"] == []
    with pytest.raises(OutOfTimeError), time_limit(0.05):
        time.sleep(5)


def test_the_rows_that_are_missing_go_on_with_the_last_measured_one(tmp_path):
    made = check(tmp_path, rows=("I6", "I7", "I8", "T2"))
    for name in ("I6", "I7"):
        made.table.add(Row(name, "x", 1.0), "inference")
    assert made.missing("inference", ("I1", "I6", "I7", "I8")) == ["I7", "I8"]


def test_the_mean_of_two_halves_is_the_gradient_of_the_whole(tmp_path):
    """What two processes are checked by; here one process takes the first pair, then the second, then both."""
    whole, seconds = gradient_of_share(0, 1, "tiny", tmp_path, 2)
    first, second = (gradient_of_share(place, 1, "tiny", tmp_path, place + 1)[0] for place in range(2))
    assert seconds > 0 and not torch.allclose(first, second)
    torch.testing.assert_close((first + second) / 2, whole, rtol=1e-4, atol=1e-6)


def test_a_failed_gpu_test_is_said(monkeypatch):
    answer = SimpleNamespace(returncode=1, stdout="x\n1 failed, 2 passed in 3s\n", stderr="")
    monkeypatch.setattr(gpu_check.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(ValueError, match="1 failed, 2 passed"):
        list(gpu_check.check_tests(None))
    answer.returncode = 0
    assert next(gpu_check.check_tests(None)).value == 2
