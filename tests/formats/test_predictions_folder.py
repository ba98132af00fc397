"""Laws of the predictions folder: one parser, names that stay inside, settings that never mix."""

import json

import pytest
from PIL import Image

from commands.errors import UserError
from formats.predictions_folder import picture_path, read_records, resume_records, save_picture, write_records


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\0b", "", "a" * 300, "a/" * 600 + "b"])
def test_an_id_that_would_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="no path inside its folder"):
        picture_path(tmp_path, name)
    assert picture_path(tmp_path, "task/3/0-50") == tmp_path / "task/3/0-50.png"


def test_records_come_back_whatever_their_sentence_holds(tmp_path):
    """The last of a pair counts; a folder without records has none."""
    assert read_records(tmp_path) == {}
    records = [{"pair_id": name, "instruction": f"a\u2028b\u0085{k}\n"} for k, name in enumerate("aba")]
    write_records(tmp_path, records)
    assert read_records(tmp_path) == {"a": records[2], "b": records[1]}


@pytest.mark.parametrize("line", ['{"pair', "[]", '{"file": "a.png"}', '{"pair_id": "a", "file": "../a.png"}'])
def test_a_damaged_or_hostile_line_is_said(tmp_path, line):
    (tmp_path / "predictions.jsonl").write_text('{"pair_id": "a"}\n' + line)
    with pytest.raises(UserError, match="predictions.jsonl"):
        read_records(tmp_path)


def test_records_of_other_settings_are_refused(tmp_path):
    """Those that a record names only where they were given count too."""
    write_records(tmp_path, [{"pair_id": "a", "steps": 2, "first_stage": "vae"}])
    assert resume_records(tmp_path, {"steps": 2, "first_stage": "vae"})
    with pytest.raises(UserError, match="first_stage=vae, now it is None; choose another --output"):
        resume_records(tmp_path, {"steps": 2})
    with pytest.raises(UserError, match="steps=2, now it is 3"):
        resume_records(tmp_path, {"steps": 3, "first_stage": "vae"})


def test_a_png_carries_its_record_and_other_formats_do_not(tmp_path):
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG")):
        save_picture(tmp_path / name, Image.new("RGB", (4, 4)), {"a": 1})
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind
            assert json.loads(picture.info.get("prediction", "{}")) == ({"a": 1} if kind == "PNG" else {})
