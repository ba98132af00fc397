"""Choosing the seeds that policies are judged in."""

import json

from scripts.choose_seeds import choose_seeds, format_seeds, main
from simulator.seeds import FILE


def test_a_seed_that_the_expert_fails_is_passed_over_and_counted(monkeypatch):
    solved = {3, 5, 6}

    def play(task: str, seed: int, save_freq: int) -> object:
        return type("Trajectory", (), {"success": seed in solved})

    monkeypatch.setattr("scripts.choose_seeds.simulate", play)
    assert choose_seeds("block_handover", 2, 3) == ([3, 5, 6], 2)


def test_only_the_task_asked_for_is_written_anew(monkeypatch, tmp_path):
    before = json.loads(FILE.read_text())
    assert format_seeds(before) == FILE.read_text()
    file = tmp_path / "seeds.json"
    file.write_text(FILE.read_text())
    monkeypatch.setattr("scripts.choose_seeds.FILE", file)
    monkeypatch.setattr("scripts.choose_seeds.choose_seeds", lambda task, first, count: ([first] * count, 0))
    assert main(["--task", "block_handover"]) == 0
    after = json.loads(file.read_text())
    assert after["block_handover"]["val"] == [100_000_000] * 20
    assert {**after, "block_handover": None} == {**before, "block_handover": None}
