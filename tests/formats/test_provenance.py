"""Results name the code that made them, or say that it is not known."""

import re

from formats import provenance as commit


def test_commit_is_named_or_said_to_be_unknown(monkeypatch, tmp_path):
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", commit.read_commit())
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "commit.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit.read_commit() == "unknown"
