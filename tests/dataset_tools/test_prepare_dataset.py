"""Laws of the command, as a user meets it."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_tools.prepare_dataset import main
from formats.prepared_folder import read_manifest
from tests.dataset_tools.layouts import tree

# Runs the command in a process that kills itself, as `kill -9` would, at the given call of the given function.
KILLED = """
import os, signal, sys
from dataset_tools.preparing import convert as conversion
from dataset_tools import prepare_dataset
name, moment, *argv = sys.argv[1:]
original, calls = getattr(conversion, name), []
def counted(*args):
    calls.append(1)
    if len(calls) == int(moment):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args)
setattr(conversion, name, counted)
prepare_dataset.main(argv)
"""


def prepare(folder: Path, output: Path, *arguments: str, workers: int = 1) -> int:
    chosen = arguments or ("--horizon", "5")
    return main(["--episodes", str(folder), "--output", str(output), "--workers", str(workers), *chosen])


@pytest.mark.parametrize(("name", "moment"), [("encode_picture", 20), ("write_text", 3), ("write_manifest", 1)])
def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(tmp_path, episodes_folder, name, moment):
    """And run once more it changes nothing."""
    folder = episodes_folder(count=3)
    arguments = ["--episodes", str(folder), "--output", str(tmp_path / "out"), "--workers", "1", "--horizon", "5"]
    command = [sys.executable, "-c", KILLED, name, str(moment), *arguments]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9 and not (tmp_path / "out" / "index.jsonl").exists()
    for output in ("out", "direct", "out"):
        assert prepare(folder, tmp_path / output) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "direct")


def test_any_number_of_workers_or_shards_gives_the_same_bytes(tmp_path, episodes_folder, capsys):
    folder = episodes_folder(count=5)
    assert prepare(folder, tmp_path / "one") == 0
    assert prepare(folder, tmp_path / "two", workers=2) == 0
    for shard, missing in (("2/3", 4), ("0/3", 2), ("1/3", 0)):
        assert prepare(folder, tmp_path / "shards", "--horizon", "5", "--shard", shard) == 0
        assert not (tmp_path / "shards" / "index.jsonl").exists()
        assert prepare(folder, tmp_path / "shards", "--horizon", "5", "--merge") == (2 if missing else 0)
        assert not missing or f"{missing} of 5 episodes are not converted yet" in capsys.readouterr().err
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(tmp_path / "shards")


def test_the_original_edit_dataset_can_read_the_folder(prepared):
    """The rules of InstructPix2Pix's edit_dataset.py, followed line by line."""
    path = prepared("--horizon", "5", count=10)
    seeds = json.loads((path / "seeds.json").read_text())
    count = 0
    for start, stop in ((0.0, 0.9), (0.9, 0.95), (0.95, 1.0)):
        for name, names in seeds[math.floor(start * len(seeds)) : math.floor(stop * len(seeds))]:
            prompt = json.loads((path / name / "prompt.json").read_text())["edit"]
            pictures = [Image.open(path / name / f"{names[0]}_{end}.jpg") for end in (0, 1)]
            assert prompt == "beat the block with the hammer"
            assert all(np.array(picture.resize((64, 64))).shape == (64, 64, 3) for picture in pictures)
            count += 1
    assert count == len(seeds) == 70


def test_the_chosen_split_reaches_the_manifest(prepared):
    """Held-out episodes are the test split; the leaky one keeps its name."""
    held_out = prepared("--horizon", "5", "--holdout", "4-5", count=6)
    assert {pair.episode for pair in read_manifest(held_out, "test")} == {4, 5}
    assert {pair.episode for pair in read_manifest(held_out, "val")} == {2}
    all_test = prepared("--horizon", "5", "--all-test", name="all_test", count=0)
    assert {pair.split for pair in read_manifest(all_test)} == {"test"}
    leaky = prepared("--horizon", "2", "--split", "leaky", name="leaky", count=0)
    assert json.loads((leaky / "dataset.json").read_text())["split"] == "leaky"
    assert {p.episode for p in read_manifest(leaky, "train")} & {p.episode for p in read_manifest(leaky, "test")}


def test_every_pairing_and_its_horizon_reach_the_manifest(prepared):
    """save_freq 50 is 5 frames a second: 1.2 s are 6 frames."""
    several = prepared("--pairing", "multi_horizon", "--horizon", "2", "5", "--template", "{instruction}, {horizon}")
    assert {pair.horizon for pair in read_manifest(several)} == {2, 5}
    for pair in read_manifest(several):
        assert pair.instruction.endswith(f", {pair.horizon}")
    chained = prepared("--pairing", "chained", "--horizon", "4", name="chained", count=0)
    assert {(pair.source_index, pair.target_index) for pair in read_manifest(chained)} == {(0, 4), (4, 8)}
    seconds = prepared("--horizon-seconds", "1.2", name="seconds", count=0)
    assert {pair.horizon for pair in read_manifest(seconds)} == {6}


def test_two_cameras_are_told_apart_and_share_their_splits(prepared):
    path = prepared("--horizon", "5", "--camera", "head_camera", "left_camera", count=3)
    pairs = read_manifest(path)
    assert len(pairs) == 2 * 21 and len({pair.pair_id for pair in pairs}) == len(pairs)
    assert len({(pair.episode, pair.split) for pair in pairs}) == 3
    head, left = (
        next(p for p in pairs if p.pair_id.endswith(f"{name}/0-5")) for name in ("head_camera", "left_camera")
    )
    assert head.source_path(path).read_bytes() != left.source_path(path).read_bytes()


def test_jsonl_has_a_line_a_pair_and_is_added_to_a_whole_folder_too(tmp_path, episodes_folder):
    folder = episodes_folder(count=1)
    assert prepare(folder, tmp_path / "whole") == 0
    for output in (tmp_path / "whole", tmp_path / "new"):
        assert prepare(folder, output, "--horizon", "5", "--jsonl") == 0
        lines = [json.loads(line) for line in (output / "instructpix2pix_dataset.jsonl").read_text().splitlines()]
        assert len(lines) == 7
        assert all((output / line[key]).is_file() for line in lines for key in ("input_image", "edited_image"))


@pytest.mark.parametrize(("flag", "text"), [("--holdout", "write for example 80-99"), ("--size", "or keep")])
def test_a_wrong_list_or_size_is_told_in_our_words(tmp_path, capsys, flag, text):
    with pytest.raises(SystemExit):
        prepare(tmp_path, tmp_path / "out", flag, "80..99")
    assert text in capsys.readouterr().err


COMMANDS = ("prepare_dataset", "inspect_dataset", "export_lerobot", "export_hub", "export_frames")
INTERRUPTED_IMPORT = """
import importlib, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name in ("numpy", "pyarrow", "h5py", "torch"):
            raise KeyboardInterrupt
for command in sys.argv[1:]:
    sys.meta_path.insert(0, Interrupt())  # the user presses Ctrl-C while it loads
    module = importlib.import_module(f"dataset_tools.{command}")
    assert module.main(["x", "--output", "y"]) == 130, command
"""


def test_ctrl_c_while_a_command_loads_is_one_sentence():
    """So nothing heavy loads before the command's guard stands."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, *COMMANDS], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("interrupted; run the same command again") == len(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_is_one_sentence(tmp_path, prepared, capsys, command):
    """Under /proc, through a file, onto a file, into a folder that holds something; what is there stays as it was."""
    folder, mine = prepared("--horizon", "5", count=1), tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    source = [str(folder)] if command in ("inspect_dataset", "export_hub") else ["--episodes", str(tmp_path / "data")]
    given = ["--horizon", "5", "--workers", "1"] if command == "prepare_dataset" else []
    main = importlib.import_module(f"dataset_tools.{command}").main
    capsys.readouterr()
    places = ["/proc/x/out", mine / "file" / "out", mine / "file", mine]
    for place in places[:3] if command == "inspect_dataset" else places:
        assert main([*source, "--output", str(place), *given]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m dataset_tools.")]
        assert len(said) == 1 and tree(mine) == {"file": b"mine"}


@pytest.mark.real_data
def test_the_real_episode_is_prepared(tmp_path, real_episode):
    """light_future's 10 s at save_freq 50 are 50 frames: 25 pairs of 75 frames."""
    assert prepare(real_episode.parent, tmp_path / "out", "--horizon-seconds", "10", "--size", "128") == 0
    pairs = read_manifest(tmp_path / "out")
    assert len(pairs) == 25 and {pair.horizon for pair in pairs} == {50}
