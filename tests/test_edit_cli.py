"""The command line in each mode, and what it says to bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import edit_cli
from commands.errors import INTERRUPTED
from formats.prepared_folder import read_manifest
from ldm.models.diffusion.sampling import SAMPLERS
from tests.tiny_checkpoint import write_tiny_checkpoint

ROOT = Path(edit_cli.__file__).parent


@pytest.fixture
def checkpoint(tmp_path, tiny_model_config):
    return write_tiny_checkpoint(tmp_path / "model", tiny_model_config)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "frame.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(checkpoint):
    """Runs the command with the tiny model; gives the exit code."""

    def command(*arguments, edit="stack blocks"):
        words = ["--ckpt", str(checkpoint), *map(str, arguments)]
        return edit_cli.main([*words, "--edit", edit] if edit is not None else words)

    return command


def test_one_picture_comes_out_beside_it_in_its_size(run, picture, capsys):
    assert run("--input", picture) == 0
    assert Image.open(picture.with_name("frame_future.png")).size == (20, 12)
    assert "frame_future.png (predicted at 8x8" in capsys.readouterr().out


def read_records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().split("\n") if line]


def test_a_folder_is_predicted_picture_by_picture(run, tmp_path, capsys):
    """Turned upright, whatever the kind of file; equal stems do not overwrite one another."""
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (30, 20)).save(folder / "a.jpg", exif=exif)
    Image.new("RGBA", (30, 20)).save(folder / "a.png")
    Image.new("L", (30, 20)).save(folder / "b.gif")
    assert run("--input", folder, "--output", tmp_path / "out") == 0
    made = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert made == {"a_jpg.png": (20, 30), "a_png.png": (30, 20), "b.png": (30, 20)}
    assert "3 predictions" in capsys.readouterr().out


def test_a_data_set_is_resumed_and_told_from_other_settings(run, pair_folder, tmp_path, capsys):
    """What it took stays beside it, and a call that has nothing to predict leaves that as it is."""
    out = tmp_path / "out"
    wanted = ("--input", pair_folder(), "--output", out)
    assert run(*wanted, "--limit", 2, edit=None) == 0
    assert run(*wanted, "--batch-size", 2, edit=None) == 0
    assert "(2 were there)" in capsys.readouterr().out
    records = read_records(out)
    assert {record["pair_id"] for record in records} == {f"square/3/{n}-{n + 3}" for n in range(5)}
    assert all((out / record["file"]).is_file() and record["steps"] == 2 for record in records)
    content = (out / "benchmark.json").read_bytes()
    benchmark = json.loads(content)
    assert benchmark["num_frames"] in (2, 3) and benchmark["seconds_a_frame"] > 0 and benchmark["peak_memory_mib"] > 0
    assert benchmark["seconds_15_frames"] == pytest.approx(15 * benchmark["seconds_a_frame"], abs=1e-3)
    assert run(*wanted, "--batch-size", 3, edit=None) == 0
    assert (out / "benchmark.json").read_bytes() == content
    for flags, edit in ((["--steps", 3], None), (["--seed", 5], None), (["--split", "all"], "go home")):
        assert run(*wanted, *flags, edit=edit) == 2
        assert "choose another --output" in capsys.readouterr().err


def test_consecutive_frames_become_a_video_with_the_truth(run, pair_folder, tmp_path):
    """As many as asked, in the order of one episode."""
    data = pair_folder(num_episodes=8, length=10)
    wanted = ("--output", tmp_path / "out", "--frames", 3, "--episode", "square/7", "--video", tmp_path / "a.mp4")
    assert run("--input", data, *wanted, edit=None) == 0
    records = read_records(tmp_path / "out")
    assert [record["pair_id"] for record in records] == [f"square/7/{n}-{n + 3}" for n in range(3)]
    with av.open(str(tmp_path / "a.mp4")) as video:
        frames = [frame for frame in video.decode(video=0)]
        assert len(frames) == 3 and frames[0].width == 3 * 96 + 2 * 4
        assert float(video.streams.video[0].average_rate) == 5.0, "the data's own rate"


def test_a_rollout_writes_strip_frames_and_gif(run, picture, tmp_path):
    assert run("--input", picture, "--rollout", 3, "--output", tmp_path / "r.png", "--video", tmp_path / "r.gif") == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["001.png", "002.png", "003.png"]
    with Image.open(tmp_path / "r.gif") as gif:
        assert gif.n_frames == 4
    run("--input", picture, "--output", tmp_path / "single.png")
    first, single = (np.asarray(Image.open(tmp_path / name)) for name in ("r/001.png", "single.png"))
    assert np.array_equal(first, single), "its first frame is the plain prediction"
    run("--input", picture, "--horizon", 9, "--output", tmp_path / "further.png")
    third, further = (np.asarray(Image.open(tmp_path / name)) for name in ("r/003.png", "further.png"))
    assert np.array_equal(third, further), "its third is three times as far ahead"
    assert json.loads(Image.open(tmp_path / "further.png").text["prediction"])["horizon"] == 9


def test_a_data_set_is_predicted_as_far_ahead_as_its_truth(run, pair_folder, tmp_path, capsys, caplog):
    """The model sees 3 frames ahead: it reaches 6 in two predictions, and says so where it does not."""
    data = pair_folder(length=10, horizon=6)
    wanted = ("--input", data, "--limit", 1)
    assert run(*wanted, "--output", tmp_path / "a", "--horizon", 6, edit=None) == 0
    assert "peak memory" in capsys.readouterr().out and not caplog.text
    assert run(*wanted, "--output", tmp_path / "b", edit=None) == 0
    assert "predicts 3 frames ahead, these pairs are 6 apart" in caplog.text
    assert run(*wanted, "--output", tmp_path / "c", "--horizon", 3, edit=None) == 2
    assert "the pairs of this data set are 6 frames apart" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_disk_that_fills_up_at_the_video_leaves_the_pictures(run, picture, tmp_path, capsys, name):
    """The encoder writes to the device on which no byte finds room."""
    (tmp_path / f".a.{os.getpid()}.partial{name[1:]}").symlink_to("/dev/full")
    wanted = ("--rollout", 3, "--output", tmp_path / "r.png", "--video", tmp_path / name)
    assert run("--input", picture, *wanted) == 2
    error = capsys.readouterr().err
    assert "the disk is full" in error and name in error and "Traceback" not in error
    assert not list(tmp_path.glob("*a.*")) and not list(tmp_path.glob(".*"))
    assert len(list((tmp_path / "r").iterdir())) == 3 and (tmp_path / "r.png").is_file()


def test_a_sweep_makes_one_sheet(run, picture, tmp_path):
    assert run("--input", picture, "--sweep", "1,4x1,1.5,2", "--output", tmp_path / "sheet.png") == 0
    assert Image.open(tmp_path / "sheet.png").size[0] == 4 * 96 + 3 * 4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_has_its_name(run, picture, tmp_path, sampler):
    out = tmp_path / f"{sampler}.png"
    assert run("--input", picture, "--sampler", sampler, "--steps", 3, "--output", out) == 0
    assert json.loads(Image.open(out).text["prediction"])["sampler"] == sampler


def test_post_processing_is_named_in_the_output(run, picture, tmp_path):
    run("--input", picture, "--output", tmp_path / "plain.png")
    run("--input", picture, "--output", tmp_path / "done.png", "--colour-balance", "--sharpen", "0.5")
    records = [json.loads(Image.open(tmp_path / name).text["prediction"]) for name in ("plain.png", "done.png")]
    assert [record["postprocess"] for record in records] == [[], ["colour balance", "sharpen 0.5"]]
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "done.png").read_bytes()


def test_a_thousand_words_are_taken_and_the_cut_is_said(run, picture, tmp_path, caplog):
    assert run("--input", picture, "--output", tmp_path / "a.png", edit="积木 stack " * 500) == 0
    assert "cut to 16" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "wanted 1 to 1000"),
        (["--cfg-text", "-1"], "text_scale -1.0 is outside"),
        (["--resolution", "9"], "multiples of 2"),
        (["--resolution", "5000"], "outside 1 to 2048"),
        (["--reconstruction"], "give a data set as --input"),
        (["--rollout", "0"], "--rollout 0: wanted at least 1"),
        (["--rollout", "99999999999"], "wanted 1 to 1000 predictions in a row"),
        (["--horizon", "0"], "--horizon 0: wanted at least 1"),
        (["--horizon", "4"], "horizon 4: this model predicts 3 frames ahead, and 6, 9, ... by feeding"),
        (["--horizon", "6", "--rollout", "2"], "choose one"),
        (["--tiny-decoder", "absent.safetensors"], "there is no tiny decoder absent.safetensors"),
        (["--batch-size", "0"], "--batch-size 0: wanted at least 1"),
        (["--rollout", "2", "--sweep"], "choose one of them"),
        (["--sweep", "a"], "wanted text scales x image scales"),
        (["--sweep", "--video", "a.gif"], "leave --video out"),
        (["--video", "a.avi"], "ending in .mp4 or .gif"),
        (["--video", "a.gif", "--fps", "0"], "0.0 frames per second is outside"),
        (["--video", "frame.png/a.gif"], "frame.png is a file, not a folder"),
        (["--sharpen", "9"], "outside [0, 2]"),
        (["--sampler", "dpm_solver", "--eta", "1"], "adds no noise"),
        (["--guide-between", "500", "100"], "lower first"),
        (["--edit", " "], "--edit is empty"),
        (["--input", "absent.png"], "there is no picture or folder"),
        (["--ckpt", "absent.ckpt"], "python main.py --base configs/train.yaml"),
    ],
)
def test_bad_input_gives_one_sentence(run, picture, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(picture.parent)
    edit = "go" if "--edit" not in arguments else None
    assert run("--input", picture, "--output", "x.png", *arguments, edit=edit) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("edit_cli.py:") == 1 and "Traceback" not in error
    assert not Path("x.png").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--output", "o", "--rollout", 2], "not a data set"),
        ([], "needs --output"),
        (["--output", "o", "--episode", "circle"], "no pair of split 'test' begins so"),
        (["--output", "o", "--reconstruction", "--steps", 3], "--steps would have no effect"),
    ],
)
def test_what_a_data_set_cannot_have_is_refused(run, pair_folder, capsys, flags, said):
    assert run("--input", pair_folder(), *flags, edit=None) == 2
    assert said in capsys.readouterr().err


def test_the_first_stage_alone_gives_back_the_truth(run, pair_folder, tmp_path, capsys):
    """Without loss, since the tiny model's is a rearrangement of pixels; squared as predictions are."""
    data, out = pair_folder(size=8), tmp_path / "bound"
    assert run("--input", data, "--output", out, "--reconstruction", edit=None) == 0
    assert "5 reconstructions of the truth" in capsys.readouterr().out
    records = read_records(out)
    assert all(record["reconstruction"] is True and "steps" not in record for record in records)
    for pair in read_manifest(data, "test"):
        written, truth = (Image.open(path) for path in (out / f"{pair.pair_id}.png", pair.target_path(data)))
        assert np.array_equal(np.asarray(written), np.asarray(truth))
    assert run("--input", data, "--output", out, edit=None) == 2, "predictions do not mix with reconstructions"


HEAVY = ("pytorch_lightning", "torchmetrics", "transformers", "matplotlib", "scipy", "pandas", "huggingface_hub", "av")


def test_one_picture_needs_neither_what_trains_nor_what_measures(picture):
    """Lightning alone took 3.7 of 6.2 CPU seconds; the web page's service needs it as little."""
    words = ["--input", str(picture), "--edit", "stack blocks", "--steps", "1"]
    page = "import prediction.load, prediction.request_queue, prediction.service"
    script = f"import sys, edit_cli; edit_cli.main({words}); {page}; print([m for m in {HEAVY} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "frame_future.png" in answer.stdout and answer.stdout.splitlines()[-1] == "[]"


def test_ctrl_c_while_modules_are_importing_is_one_sentence(picture):
    """The signal comes as soon as torch begins to load."""
    script = (
        "import os, signal, sys, importlib.abc, edit_cli\n"
        "class Stop(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        f"sys.exit(edit_cli.main(['--input', {str(picture)!r}, '--edit', 'go']))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == INTERRUPTED
    assert answer.stderr.startswith("edit_cli.py: stopped;") and answer.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["/proc/nowhere/a.png", "/proc/a.png"])
def test_a_place_that_takes_no_files_is_one_sentence(run, picture, capsys, name):
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    assert run("--input", picture, "--output", name) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and name in error


def test_an_interrupted_call_says_what_the_same_command_does(run, pair_folder, picture, tmp_path, capsys, monkeypatch):
    def stop(opt):
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_cli, "load", stop)
    assert run("--input", pair_folder(), "--output", tmp_path / "o", edit=None) == INTERRUPTED
    assert "goes on where it was" in capsys.readouterr().err
    assert run("--input", picture) == INTERRUPTED
    assert "begins anew" in capsys.readouterr().err


def test_too_little_memory_names_flags_of_this_command(run, picture, capsys, monkeypatch):
    def fail(opt):
        raise type("OutOfMemoryError", (RuntimeError,), {})

    monkeypatch.setattr(edit_cli, "load", fail)
    assert run("--input", picture) == 2
    error = capsys.readouterr().err
    assert "--batch-size" in error and "--tiny-decoder" in error and "data.params" not in error
