"""Laws of the stamp of recorded files: the same for a copy, another for another recording, blind to what is none."""

import shutil

import pytest

from dataset_tools.preparing.source_stamp import stamp_sources


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "episode0"
    place.mkdir()
    for index in range(4):
        (place / f"{index}.pkl").write_bytes(bytes([index]) * 50_000)
    return place


def test_a_copy_elsewhere_and_later_has_the_same_stamp(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "0.pkl").touch()
    assert stamp_sources([folder]) == stamp_sources([tmp_path / "copy"]) == stamp_sources([folder, folder])


@pytest.mark.parametrize("position", [0, 25_000, 49_999])
def test_other_bytes_names_or_sizes_have_another(folder, position):
    stamps = [stamp_sources([folder])]
    for name in ("0.pkl", "3.pkl"):
        content = bytearray((folder / name).read_bytes())
        content[position] ^= 1
        (folder / name).write_bytes(content)
        stamps += [stamp_sources([folder]), stamp_sources([folder / name])]
    (folder / "1.pkl").write_bytes(b"shorter")
    stamps.append(stamp_sources([folder]))
    (folder / "3.pkl").unlink()
    stamps.append(stamp_sources([folder]))
    assert len(set(stamps)) == len(stamps)


def test_what_is_no_recording_does_not_count(folder):
    before = stamp_sources([folder])
    for name in (".cache", "begun/.parts", "whole"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.pkl").touch()
    (folder / "begun" / "0_0.jpg").touch()
    (folder / "whole" / "index.jsonl").touch()
    (folder / "notes.txt").touch()
    assert stamp_sources([folder]) == before
    assert stamp_sources([folder / "absent"]) == stamp_sources([])
