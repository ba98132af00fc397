"""Laws of requests: nobody's picture is overwritten, nothing is ignored in silence, names stay in their folder."""

import os

import pytest

import edit_cli
from commands.errors import UserError
from formats.prepared_folder import read_manifest
from prediction.request import DatasetRequest, PictureRequest, Sweep, make_request


def ask(*arguments):
    return make_request(vars(edit_cli.make_parser().parse_args([str(word) for word in arguments])))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split", "test"], "--split chooses pairs of a data set"),
        (["--limit", "3"], "--limit chooses pairs of a data set"),
        (["--episode", "a/1"], "--episode chooses pairs of a data set"),
        (["--frames", "3"], "is one picture"),
        (["--fps", "3"], "leave --fps out"),
        (["--sweep", "--cfg-text", "3"], "leave --cfg-text and --cfg-image out"),
        (["--chain", "1"], "--chain chooses pairs of a data set"),
        (["--seconds", "0"], "wanted a time above 0"),
        (["--seconds", "2", "--horizon", "20"], "--seconds and --horizon: choose one"),
        (["--seconds", "1", "2", "--rollout", "2"], "--rollout takes one time"),
        (["--samples", "1"], "wanted 2 to 64"),
        (["--samples", "8", "--rollout", "2"], "--samples and --rollout"),
        (["--uncertainty", "map.png"], "give --samples too"),
    ],
)
def test_flags_without_effect_are_refused(tmp_path, flags, said):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=said):
        ask("--input", tmp_path / "a.png", "--edit", "go", *flags)


def test_the_kind_of_input_decides_the_kind_of_request(pair_folder, tmp_path):
    data, out = pair_folder(), tmp_path / "out"
    of_data = ask("--input", data, "--output", out, "--split", "val", "--limit", 1)
    assert isinstance(of_data, DatasetRequest) and len(of_data.pairs) == 1
    assert list(of_data.all_pairs) == read_manifest(data)
    assert isinstance(ask("--input", next(data.rglob("*_0.png")), "--edit", "go"), PictureRequest)
    with pytest.raises(UserError, match="--seconds takes a picture"):
        ask("--input", data, "--output", out, "--seconds", 2)
    with pytest.raises(UserError, match="no --samples"):
        ask("--input", data, "--output", out, "--chain", 1, "--samples", 8)


def test_a_folder_of_pictures_is_never_overwritten(tmp_path):
    """Whatever the path is called by, and also the pictures that --frames leaves out."""
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="a.png is the input itself"):
        ask("--input", tmp_path, "--output", tmp_path / ".." / tmp_path.name, "--edit", "go", "--frames", 2)
    assert len(ask("--input", tmp_path, "--output", tmp_path / "out", "--edit", "go").pictures) == 3


def test_neither_do_the_frames_of_a_rollout_nor_a_video(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.gif").touch()
    wanted = ("--input", tmp_path / "a", "--edit", "go", "--output", tmp_path)
    with pytest.raises(UserError, match="x.gif is the input itself"):
        ask(*wanted, "--video", tmp_path / "a" / "x.gif")
    (tmp_path / "a" / "x.gif").rename(tmp_path / "a" / "a.gif")
    with pytest.raises(UserError, match="a.gif is the input itself"):
        ask(*wanted, "--rollout", 2)


def test_a_pipe_in_a_folder_is_no_picture(tmp_path):
    """Opening it would wait for a writer without end."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="no pictures in"):
        ask("--input", tmp_path, "--edit", "go")


def test_outputs_that_cannot_be_written_are_refused_before_anything_is_loaded(tmp_path, pair_folder):
    (tmp_path / "frame.png").touch()
    (tmp_path / "folder.png").mkdir()
    wanted = ("--input", tmp_path / "frame.png", "--edit", "go", "--output")
    for place, said in ((tmp_path / "folder.png", "is a folder"), (tmp_path / "frame.png" / "x.png", "is a file, not")):
        with pytest.raises(UserError, match=said):
            ask(*wanted, place)
    with pytest.raises(UserError, match="is a file; a data set's predictions need a folder"):
        ask("--input", pair_folder(), "--output", tmp_path / "frame.png")


def test_frames_that_are_not_consecutive_are_said_with_the_command_that_makes_them(pair_folder, tmp_path, caplog):
    """Figure 7 of light_future needs every frame; data of stride 10 have every tenth."""
    caplog.set_level("INFO")
    wanted = ("--input", pair_folder(length=12), "--output", tmp_path / "out", "--frames", 3)
    assert [pair.source_index for pair in ask(*wanted).pairs] == [0, 1, 2] and not caplog.text
    index = tmp_path / "prepared" / "index.jsonl"
    lines = [line for line in index.read_text().splitlines() if "/0-" in line or "/4-" in line or "/8-" in line]
    index.write_text("\n".join(lines) + "\n")
    ask(*wanted)
    assert "4 frames apart, not consecutive" in caplog.text and "--horizon 3 --stride 1" in caplog.text


@pytest.mark.parametrize("text", ["1,2", "1,axb", "1x2x3", "", ",".join("1" * 11) + "x" + ",".join("1" * 10)])
def test_a_sweep_that_cannot_be_read_is_refused(text):
    with pytest.raises(UserError, match="--sweep"):
        Sweep.parse(text)
    assert Sweep.parse("1,4,7.5x1,1.5") == Sweep((1.0, 4.0, 7.5), (1.0, 1.5))
