"""Choosing the seeds that policies are judged in."""

from scripts.choose_seeds import choose_seeds


def test_a_seed_that_the_script_fails_is_passed_over_and_counted(monkeypatch):
    solved = {3, 5, 6}

    def play(task: str, seed: int, save_freq: int) -> object:
        return type("Trajectory", (), {"success": seed in solved})

    monkeypatch.setattr("scripts.choose_seeds.simulate", play)
    assert choose_seeds("block_handover", 2, 3) == ([3, 5, 6], 2)
