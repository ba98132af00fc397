"""Laws of a model's results file."""

import json

from scripts.model_results import main

RUN = {
    "steps": 12,
    "parts": [
        {
            "command": "python main.py --base a.yaml",
            "commit": "abc123",
            "device": "a CPU",
            "num_devices": 1,
            "precision": "32-true",
            "torch": "2.13.0",
            "first_step": 0,
            "last_step": 12,
            "seconds": 34.5,
        }
    ],
}
DATA = {
    "sources": {"square": {"episodes": 5}},
    "counts": {"square": {"train": 20, "test": 4}},
    "split": "episode",
    "content_sha256": "feed",
}


def test_the_file_says_how_the_model_was_made(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "dataset.json").write_text(json.dumps(DATA))
    (tmp_path / "table.md").write_text("| copy the input | 13 |\n")
    flags = ["--run", tmp_path, "--data", tmp_path, "--table", tmp_path / "table.md", "--output", tmp_path / "out.md"]
    assert main([str(flag) for flag in flags]) == 0
    text = (tmp_path / "out.md").read_text()
    for fact in (
        "square 5",
        "20 train, 0 val, 4 test",
        "| 12 |",
        "34 s",
        "abc123",
        "main.py --base a.yaml",
        "copy the input",
    ):
        assert fact in text


def test_a_missing_file_is_one_sentence(tmp_path, capsys):
    flags = ["--run", tmp_path, "--data", tmp_path, "--table", tmp_path / "t.md", "--output", tmp_path / "out.md"]
    assert main([str(flag) for flag in flags]) == 2
    assert "main.py writes run.json" in capsys.readouterr().err
