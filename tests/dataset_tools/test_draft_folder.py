"""Laws of folders that are whole or absent."""

import pytest

from commands.errors import UserError
from dataset_tools.draft_folder import draft_folder


def test_the_folder_appears_when_it_is_whole(tmp_path):
    (tmp_path / "out").mkdir()
    with draft_folder(tmp_path / "out") as draft:
        (draft / "x").touch()
        assert not any((tmp_path / "out").iterdir())
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "x"]


def test_after_an_interruption_the_same_command_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt), draft_folder(tmp_path / "out") as draft:
        (draft / "half").touch()
        raise KeyboardInterrupt
    assert not (tmp_path / "out").exists()
    with draft_folder(tmp_path / "out") as draft:
        (draft / "x").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


def test_what_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    for output in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="is not empty"), draft_folder(output):
            pass
