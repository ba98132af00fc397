from pathlib import Path

from metrics.comparison.named_folder import parse_named_folder


def test_the_name_stands_before_the_first_equals_sign():
    assert parse_named_folder("a=runs/epoch=2") == ("a", Path("runs/epoch=2"))
    assert parse_named_folder("runs/a") == (None, Path("runs/a"))


def test_a_folder_that_exists_is_a_folder(tmp_path):
    folder = tmp_path / "epoch=2"
    assert parse_named_folder(str(folder)) == (f"{tmp_path}/epoch", Path("2"))
    folder.mkdir()
    assert parse_named_folder(str(folder)) == (None, folder)
