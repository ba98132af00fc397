"""Laws of atomic writing: whole or absent, at any moment, for any reader."""

import json

import pytest

from formats.atomic import atomic_path, write_bytes, write_json, write_text


def test_content_arrives_and_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "x.txt", "größer")
    assert (tmp_path / "a" / "b" / "x.txt").read_text(encoding="utf-8") == "größer"
    write_bytes(tmp_path / "x.bin", b"\0\xff")
    assert (tmp_path / "x.bin").read_bytes() == b"\0\xff"
    write_json(tmp_path / "x.json", {"edit": "机器人"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"edit": "机器人"}
    assert "机器人" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_an_interrupted_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as draft:
        draft.write_text("ne")
        raise RuntimeError("unplugged")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_nothing_is_seen_under_the_name_before_the_block_ends(tmp_path):
    path = tmp_path / "x.png"
    with atomic_path(path) as draft:
        draft.write_text("whole")
        assert not path.exists() and draft.suffix == ".png"
    assert path.read_text() == "whole"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x.txt"):
        pass
