"""What users really hand in: each of these gets one sentence with the mend, exit code 2, and never a traceback."""

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset_tools.export_lerobot import main as export_lerobot
from dataset_tools.prepare_dataset import main as prepare_dataset
from dataset_tools.readers.safe_pickle import read_pickle
from dataset_tools.writers.robotwin import encode_jpeg
from tests.dataset_tools.layouts import square_frames, write_video
from tests.dataset_tools.readers.test_safe_pickle import Runs


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_pictures(path: Path, pictures: object) -> None:
    with h5py.File(path, "a") as file:
        del file["observation/head_camera/rgb"]
        file["observation/head_camera/rgb"] = pictures


def jpegs(**changed: bytes) -> np.ndarray:
    contents = [encode_jpeg(frame, true_rgb=True) for frame in square_frames(12)]
    for name, content in changed.items():
        contents[int(name.removeprefix("frame"))] = content
    return np.array(contents)


def change_hdf5(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


def change_pkl(folder: Path, number: int, change: Callable[[dict], object]) -> None:
    path = folder / f"{number}.pkl"
    content = read_pickle(path)
    change(content)
    path.write_bytes(pickle.dumps(content, 4))


def set_rgb(content: dict, rgb: np.ndarray) -> None:
    content["observation"]["head_camera"]["rgb"] = rgb


def write_sentences(path: Path, content: bytes) -> None:
    file = path.parents[1] / "instructions" / "episode0.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# name: layout, damage done to the written episode, words of the sentence
EPISODES = {
    "hdf5 cut short": ("hdf5", cut, "not a whole hdf5 file"),
    "hdf5 of no bytes": ("hdf5", lambda path: path.write_bytes(b""), "not a whole hdf5 file"),
    "hdf5 that is text": ("hdf5", lambda path: path.write_text("<html>404</html>"), "not a whole hdf5 file"),
    "hdf5 without pictures": ("hdf5", lambda path: change_hdf5(path, "observation", None), "holds no pictures"),
    "hdf5 of no frames": ("hdf5", lambda path: write_pictures(path, jpegs()[:0]), "episode of no frames"),
    "half a JPEG": (
        "hdf5",
        lambda p: write_pictures(p, jpegs(frame6=jpegs()[6][:400])),
        "frame 6 of .* not a readable picture",
    ),
    "a JPEG of no bytes": ("hdf5", lambda path: write_pictures(path, jpegs(frame6=b"")), "frame 6 of .* is empty"),
    "pictures of floats": ("hdf5", lambda p: write_pictures(p, square_frames(12) / 255.0), "float64 .* wanted a uint8"),
    "fewer frames than joints": (
        "hdf5",
        lambda path: write_pictures(path, jpegs()[:9]),
        "cut short: head_camera has 9",
    ),
    "sentences not in UTF-8": (
        "hdf5",
        lambda path: write_sentences(path, '{"seen": ["größer"]}'.encode("latin-1")),
        "UTF-8",
    ),
    "sentences not in a dictionary": ("hdf5", lambda path: write_sentences(path, b'["beat it"]'), '"seen"'),
    "a frame number missing": ("pkl", lambda folder: (folder / "7.pkl").unlink(), r"lacks frame 7\.pkl"),
    "numbered from 1": ("pkl", lambda folder: (folder / "0.pkl").unlink(), r"lacks frame 0\.pkl"),
    "a hostile pickle": (
        "pkl",
        lambda f: (f / "0.pkl").write_bytes(pickle.dumps(Runs("true"), 4)),
        "refused, nothing was run",
    ),
    "a pickle cut short": ("pkl", lambda folder: cut(folder / "6.pkl"), r"6\.pkl is not a whole pickle"),
    "a pickle of no bytes": ("pkl", lambda folder: (folder / "0.pkl").write_bytes(b""), "not a whole pickle"),
    "a pickle of something else": ("pkl", lambda f: change_pkl(f, 0, dict.clear), "no RoboTwin frame"),
    "float pictures in a pickle": (
        "pkl",
        lambda folder: change_pkl(folder, 0, lambda content: set_rgb(content, np.zeros((48, 64, 3)))),
        "float64 .* wanted a uint8",
    ),
    "two sizes in an episode": (
        "pkl",
        lambda folder: change_pkl(folder, 6, lambda content: set_rgb(content, np.zeros((24, 64, 3), np.uint8))),
        "is 64x24 while frame 0 is 64x48",
    ),
    "no camera recorded": (
        "pkl",
        lambda folder: change_pkl(folder, 0, lambda content: content["observation"].clear()),
        "holds no camera pictures",
    ),
    "an episode of no files": ("pkl", lambda folder: [path.unlink() for path in folder.iterdir()], "is empty"),
    "an extracted frame missing": ("frame_folders", lambda folder: (folder / "7.jpg").unlink(), "lacks frame 7"),
    "an extracted frame cut short": (
        "frame_folders",
        lambda folder: cut(folder / "6.jpg"),
        r"6\.jpg is not a readable picture",
    ),
    "a frame that is no picture": (
        "flat_frames",
        lambda f: (f / "episode0_frame5.jpg").write_text("x"),
        "not a readable picture",
    ),
    "a video without its index": (
        "clip",
        lambda p: cut(next(p.parents[1].rglob("*.mp4"))),
        "index is broken or missing",
    ),
    "a video that is absent": ("clip", lambda path: next(path.parents[1].rglob("*.mp4")).unlink(), "is absent"),
    "a video shorter than told": (
        "clip",
        lambda path: (
            change_json(path, video_length=12),
            write_video(next(path.parents[1].rglob("*.mp4")), square_frames(6)),
        ),
        "has 6 frames, .* says 12",
    ),
    "an annotation not in UTF-8": ("clip", lambda path: path.write_bytes(b'{"texts": ["\xfc"]}'), "not UTF-8"),
    "an annotation cut short": ("clip", cut, "not as it should be"),
    "an old LeRobot version": (
        "lerobot_2",
        lambda r: change_json(r / "meta/info.json", codebase_version="v1.6"),
        "version v1.6",
    ),
    "LeRobot without its rows": ("lerobot_2", lambda root: next(root.rglob("*.parquet")).unlink(), "is missing though"),
    "LeRobot without its sentences": (
        "lerobot_2",
        lambda r: (r / "meta/episodes.jsonl").unlink(),
        "there is no .*episodes.jsonl",
    ),
}

JOINTS = {
    "NaN actions in pickles": (
        "pkl",
        lambda f: change_pkl(f, 6, lambda c: c["joint_action"].fill(np.nan)),
        "is broken",
    ),
    "NaN actions in hdf5": (
        "hdf5",
        lambda p: change_hdf5(p, "joint_action/vector", np.full((12, 14), np.nan)),
        "not finite",
    ),
    "text for states": ("clip", lambda path: change_json(path, state=["a"] * 12), "Expected `array`, got `str`"),
    "LeRobot rows cut short": (
        "lerobot_2",
        lambda root: cut(next(root.rglob("*.parquet"))),
        "not a whole parquet file",
    ),
}

ARGUMENTS = {
    "an absent folder": (["--episodes", "/absent", "--horizon", "5"], "no folder /absent"),
    "a horizon too long": (["--horizon", "400"], "the longest of 1 episodes has 12 frames; give a shorter horizon"),
    "no horizon": ([], "wants a horizon"),
    "a horizon of 0": (["--horizon", "0"], "must be positive"),
    "a horizon without end": (["--horizon-seconds", "inf"], "must be positive"),
    "pictures too large": (["--horizon", "5", "--size", "200000"], "give 8 to 8192"),
    "a template of ten billion letters": (["--horizon", "5", "--template", "{horizon:99999999999}"], "is malformed"),
    "fractions that are no numbers": (["--horizon", "5", "--val", "nan"], "add up to at most 1"),
    "a rate that cannot be": (["--horizon", "5", "--save-freq", "-3"], "no number of physics steps"),
    "an output through a file": (["--horizon", "5", "--output", "/etc/passwd/x"], "Not a directory"),
    "an unknown camera": (["--horizon", "5", "--camera", "roof"], "no camera 'roof'; choose one of head_camera"),
    "the wrong format": (["--horizon", "5", "--format", "lerobot"], r"meta/info\.json is missing"),
    "fractions above 1": (["--horizon", "5", "--val", "0.8", "--test", "0.4"], "add up to at most 1"),
    "a template without a sentence": (["--horizon", "5", "--template", "future"], "drops the sentence"),
    "sentences that nobody has": (["--horizon", "5", "--instructions", "unseen"], "without unseen instructions"),
    "an output that cannot be": (["--horizon", "5", "--output", "/proc/prepared"], "check the path"),
}


def sentence_of(capsys: pytest.CaptureFixture) -> str:
    """What is on stderr, which must be one line that is no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m dataset_tools.")]
    assert len(lines) == 1 and "Traceback" not in lines[0]
    return lines[0]


@pytest.mark.parametrize("name", EPISODES)
def test_a_malformed_episode_is_one_sentence(tmp_path, episode_file, capsys, name):
    layout, damage, says = EPISODES[name]
    damage(episode_file(layout))
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert prepare_dataset([*arguments, "--horizon", "5"]) == 2
    assert re.search(says, sentence_of(capsys))
    assert not (tmp_path / "out" / "index.jsonl").exists()


@pytest.mark.parametrize("name", JOINTS)
def test_malformed_joints_are_one_sentence(tmp_path, episode_file, capsys, name):
    layout, damage, says = JOINTS[name]
    damage(episode_file(layout))
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    arguments += ["--fps", "5"] if layout == "pkl" else []  # the others say it themselves
    assert export_lerobot(arguments) == 2
    assert re.search(says, sentence_of(capsys))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_senseless_arguments_are_one_sentence(tmp_path, episode_file, capsys, name):
    arguments, says = ARGUMENTS[name]
    episode_file("hdf5")
    given = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--workers", "1", *arguments]
    assert prepare_dataset(given) == 2
    assert re.search(says, sentence_of(capsys))


def declare(path: Path, name: str, shape: tuple[int, ...], dtype: object) -> None:
    """A dataset of that size of which nothing is stored."""
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=tuple(min(side, 16) for side in shape))


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("observation/head_camera/rgb", (10**12,), "S9"),
        ("observation/head_camera/rgb", (12,), "S999999999"),
        ("observation/head_camera/rgb", (12, 10**6, 10**6, 3), np.uint8),
        ("observation/head_camera/rgb", (10**8,), h5py.vlen_dtype(np.uint8)),
        ("joint_action/vector", (12, 10**9), np.float64),
    ],
)
def test_a_file_that_declares_terabytes_is_refused_before_reading(tmp_path, episode_file, capsys, name, shape, dtype):
    declare(episode_file("hdf5"), name, shape, dtype)
    assert export_lerobot(["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out")]) == 2
    assert re.search("declares|has 100000000 frames", sentence_of(capsys))


@pytest.mark.parametrize(("layout", "name"), [("pkl", "3.pkl"), ("frame_folders", "3.jpg"), ("hdf5", "episode0.hdf5")])
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, episode_file, capsys, layout, name):
    episode_file(layout)
    (path,) = (tmp_path / "data").rglob(name)
    path.unlink()
    os.mkfifo(path)
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert prepare_dataset([*arguments, "--horizon", "2"]) == 2
    assert "no regular file" in sentence_of(capsys)
