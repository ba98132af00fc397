"""Laws of edit_cli's flags: nobody's picture is overwritten, nothing is ignored in silence."""

from argparse import Namespace
from pathlib import Path

import pytest

import edit_cli
from prediction.request import check_flags, check_overwrites


def parse(*arguments):
    return edit_cli.make_parser().parse_args([str(word) for word in arguments])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split", "test"], "--split chooses pairs of a data set"),
        (["--limit", "3"], "--limit chooses pairs of a data set"),
        (["--episode", "a/1"], "--episode chooses pairs of a data set"),
        (["--frames", "3"], "is one picture"),
        (["--fps", "3"], "leave --fps out"),
        (["--sweep", "--cfg-text", "3"], "leave --cfg-text and --cfg-image out"),
    ],
)
def test_flags_without_effect_are_refused(tmp_path, flags, said):
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=said):
        check_flags(parse("--input", tmp_path / "a.png", "--edit", "go", *flags))


def test_a_data_set_takes_them(pair_folder):
    check_flags(parse("--input", pair_folder(), "--split", "val", "--limit", 1, "--episode", "a", "--frames", 2))


def test_a_folder_of_pictures_is_never_overwritten(tmp_path):
    """Whatever the path is called by, and also the pictures that --frames leaves out."""
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / name).touch()
    inside = ("--input", tmp_path, "--output", tmp_path / ".." / tmp_path.name, "--edit", "go")
    with pytest.raises(ValueError, match="a.png is the input itself"):
        edit_cli.list_pictures(parse(*inside))
    edit_cli.list_pictures(parse("--input", tmp_path, "--output", tmp_path / "out", "--edit", "go"))


@pytest.mark.parametrize("given", [{"rollout": 2}, {"video": Path("a/x.gif")}])
def test_neither_do_the_frames_of_a_rollout_nor_a_video(given):
    opt = Namespace(**{"rollout": None, "video": None} | given)
    with pytest.raises(ValueError, match="x.gif is the input itself"):
        check_overwrites([Path("a/x.gif")], [Path("a.png")], opt)
