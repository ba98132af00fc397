"""Laws of files and folders: whole or absent at any moment, and read only as what they should be."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from commands.errors import MissingFileError, UserError, sentence_for
from formats.atomic import (
    atomic_path,
    check_name,
    draft_folder,
    inside,
    read_file,
    read_json,
    read_jsonl,
    write_json,
    write_text,
)


def test_content_arrives_and_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "x.txt", "größer")
    assert (tmp_path / "a" / "b" / "x.txt").read_text(encoding="utf-8") == "größer"
    write_json(tmp_path / "x.json", {"edit": "机器人"})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"edit": "机器人"}
    assert "机器人" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_an_interrupted_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as draft:
        draft.write_text("ne")
        assert path.read_text() == "old" and draft.suffix == ".txt"
        raise RuntimeError("unplugged")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass  # nothing was written
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file_and_not_its_temporary_name(tmp_path):
    with pytest.raises(OSError, match="x.txt") as caught, atomic_path(tmp_path / "x.txt") as draft:
        draft.write_text("h")
        raise OSError(errno.ENOSPC, "No space left on device")  # as h5py and PyAV raise it, without a name
    assert "the disk is full" in sentence_for(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["folder", "file/below", "file"])
def test_an_output_onto_a_folder_or_through_a_file_is_one_sentence(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises((OSError, UserError)) as caught:
        if place == "folder":
            write_text(tmp_path / place, "x")
        else:
            with draft_folder(tmp_path / place):
                pass
    assert str(tmp_path / "fi") in sentence_for(caught.value) or place == "folder"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_appears_when_it_is_whole(tmp_path):
    (tmp_path / "out").mkdir()
    with draft_folder(tmp_path / "out") as draft:
        (draft / "x").touch()
        assert not any((tmp_path / "out").iterdir())
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "x"]


def test_after_an_interruption_the_folder_is_begun_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt), draft_folder(tmp_path / "out") as draft:
        (draft / "half").touch()
        raise KeyboardInterrupt
    assert not (tmp_path / "out").exists()
    with draft_folder(tmp_path / "out") as draft:
        (draft / "x").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    for output in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="is not empty"), draft_folder(output):
            pass


def test_json_lines_end_at_a_line_feed_only(tmp_path):
    """U+2028 and its like end a line for str.splitlines, but are letters of a sentence in JSON."""
    sentences = ["a\u2028b", "c\x0bd\x85e", "f\rg"]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(json.dumps({"edit": s}, ensure_ascii=False).encode() + b"\n" for s in sentences) + b"\n")
    assert [entry["edit"] for entry in read_jsonl(path)] == sentences


@dataclass
class Entry:
    rate: Annotated[float, Meta(gt=0)]
    name: str | None = None


@pytest.mark.parametrize(
    "line",
    ["[]", "{", '{"rate": "3"}', '{"rate": 0}', '{"rate": 1, "name": 3}', "[" * 100_000, '{"rate":1,"name":"\\ud800"}'],
)
def test_a_line_of_other_types_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "x.jsonl").write_text('{"rate": 3, "more": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=r"x.jsonl, line 2, is not as it should be \(.*mend"):
        read_jsonl(tmp_path / "x.jsonl", Entry)


def test_only_regular_files_of_a_sound_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match="no regular file"):
            read_file(path)
    (tmp_path / "x.json").write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match="at most 8"):
        read_file(tmp_path / "x.json", 8)
    with pytest.raises(UserError, match="not UTF-8"):
        read_json(tmp_path / "x.json")
    with pytest.raises(MissingFileError, match="there is no"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_file(tmp_path / "a\0b")


def test_a_name_stays_inside_its_folder(tmp_path):
    for name in ("x", "task/0/0-50", "größer, 'x'.png", "a..b/...", " "):
        assert inside(tmp_path, name).is_relative_to(tmp_path)
    bad = ("", "/etc/x", "../x", "a/../../x", "a//b", "a/", ".", "a/.", "a\0b", "a\nb", "\ud800", "x" * 250, "a/" * 900)
    for name in bad:
        with pytest.raises(UserError, match="no path inside"):
            check_name(name)
