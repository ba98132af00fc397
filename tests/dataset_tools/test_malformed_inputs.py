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
from tests.dataset_tools.layouts import square_frames
from tests.dataset_tools.readers.test_safe_pickle import Runs

RGB, STATES = "observation/head_camera/rgb", "joint_action/vector"
Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def find(name: str, change: Callable[[Path], object]) -> Damage:
    """Damages the file of that name that belongs to the episode, which is a folder or the file of an annotation."""
    return lambda path: change(next((path if path.is_dir() else path.parents[1]).rglob(name)))


def write(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def sentences(content: bytes) -> Damage:
    def damage(path: Path) -> None:
        file = path.parents[1] / "instructions" / "episode0.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)

    return damage


def jpegs(*, sixth: bytes | None = None) -> np.ndarray:
    contents = [encode_jpeg(frame, true_rgb=True) for frame in square_frames(12)]
    return np.array(contents if sixth is None else [*contents[:6], sixth, *contents[7:]])


def hdf5(name: str, value: object, **declared: object) -> Damage:
    """Another value, none, or a dataset of that size of which nothing is stored."""

    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[name]
            if declared:
                chunks = tuple(min(side, 16) for side in declared["shape"])
                file.create_dataset(name, chunks=chunks, **declared)
            elif value is not None:
                file[name] = value

    return damage


def pkl(number: int, change: Callable[[dict], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / f"{number}.pkl"
        content = read_pickle(path)
        change(content)
        path.write_bytes(pickle.dumps(content, 4))

    return damage


def rgb(pixels: np.ndarray) -> Callable[[dict], object]:
    return lambda content: content["observation"]["head_camera"].update(rgb=pixels)


def change_json(**values: object) -> Damage:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


# name: layout, damage done to the written episode, words of the sentence
EPISODES = {
    "hdf5 cut short": ("hdf5", cut, "not a whole hdf5 file"),
    "hdf5 of no bytes": ("hdf5", write(b""), "not a whole hdf5 file"),
    "hdf5 that is text": ("hdf5", write(b"<html>404</html>"), "not a whole hdf5 file"),
    "hdf5 that is a pipe": ("hdf5", pipe, "no regular file"),
    "hdf5 without pictures": ("hdf5", hdf5("observation", None), "holds no pictures"),
    "hdf5 of no frames": ("hdf5", hdf5(RGB, jpegs()[:0]), "episode of no frames"),
    "half a JPEG": ("hdf5", hdf5(RGB, jpegs(sixth=jpegs()[6][:400])), "frame 6 of .* not a readable picture"),
    "a JPEG of no bytes": ("hdf5", hdf5(RGB, jpegs(sixth=b"")), "frame 6 of .* is empty"),
    "a JPEG of another size": (
        "hdf5",
        hdf5(RGB, jpegs(sixth=encode_jpeg(square_frames(1)[0][:24], true_rgb=True))),
        "frame 6 of .* is 64x24, others are 64x48",
    ),
    "pictures of floats": ("hdf5", hdf5(RGB, square_frames(12) / 255.0), "float64 .* wanted a uint8"),
    "fewer frames than joints": ("hdf5", hdf5(RGB, jpegs()[:9]), "cut short: .*head_camera.* has 9"),
    "sentences not in UTF-8": ("hdf5", sentences('{"seen": ["größer"]}'.encode("latin-1")), "UTF-8"),
    "sentences not in a dictionary": ("hdf5", sentences(b'["beat it"]'), '"seen"'),
    "a frame number missing": ("pkl", find("7.pkl", Path.unlink), r"lacks frame 7\.pkl"),
    "numbered from 1": ("pkl", find("0.pkl", Path.unlink), r"lacks frame 0\.pkl"),
    "a hostile pickle": ("pkl", find("0.pkl", write(pickle.dumps(Runs("true"), 4))), "refused, nothing was run"),
    "a pickle cut short": ("pkl", find("6.pkl", cut), r"6\.pkl is not a whole pickle"),
    "a pickle of no bytes": ("pkl", find("0.pkl", write(b"")), "not a whole pickle"),
    "a pickle that is text": ("pkl", find("0.pkl", write(b"no pickle at all")), "not a whole pickle"),
    "a pickle that is a pipe": ("pkl", find("3.pkl", pipe), "no regular file"),
    "a pickle of something else": ("pkl", pkl(0, dict.clear), "no RoboTwin frame"),
    "float pictures in a pickle": ("pkl", pkl(0, rgb(np.zeros((48, 64, 3)))), "float64 .* wanted a uint8"),
    "a pickle of another size": ("pkl", pkl(6, rgb(np.zeros((24, 64, 3), np.uint8))), "is 64x24, others are 64x48"),
    "no camera recorded": ("pkl", pkl(0, lambda content: content["observation"].clear()), "holds no camera pictures"),
    "an episode of no files": ("pkl", lambda folder: [path.unlink() for path in folder.iterdir()], "is empty"),
    "an extracted frame cut short": ("frame_folders", find("6.jpg", cut), r"6\.jpg is not a readable picture"),
    "an extracted frame that is a pipe": ("frame_folders", find("3.jpg", pipe), "no regular file"),
    "a frame that is no picture": ("flat_frames", find("episode0_frame5.jpg", write(b"x")), "not a readable picture"),
    "a video without its index": ("clip", find("*.mp4", cut), "index is broken or missing"),
    "a video that is absent": ("clip", find("*.mp4", Path.unlink), "is absent"),
    "an annotation not in UTF-8": ("clip", write(b'{"texts": ["\xfc"]}'), "not UTF-8"),
    "an annotation cut short": ("clip", cut, "not as it should be"),
    "LeRobot without its rows": ("lerobot_2", find("*.parquet", Path.unlink), "is missing though"),
    "LeRobot without its sentences": ("lerobot_2", find("episodes.jsonl", Path.unlink), "there is no .*episodes.jsonl"),
}

JOINTS = {
    "NaN actions in pickles": ("pkl", pkl(6, lambda content: content["joint_action"].fill(np.nan)), "is broken"),
    "NaN actions in hdf5": ("hdf5", hdf5(STATES, np.full((12, 14), np.nan)), "not finite"),
    "text for states": ("clip", change_json(state=["a"] * 12), "Expected `array`, got `str`"),
    "LeRobot rows cut short": ("lerobot_2", find("*.parquet", cut), "not a whole parquet file"),
    "a trillion pictures": ("hdf5", hdf5(RGB, None, shape=(10**12,), dtype="S9"), "declares"),
    "a picture of a gigabyte": ("hdf5", hdf5(RGB, None, shape=(12,), dtype="S999999999"), "declares"),
    "pictures of a terapixel": ("hdf5", hdf5(RGB, None, shape=(12, 10**6, 10**6, 3), dtype=np.uint8), "declares"),
    "a hundred million pictures": (
        "hdf5",
        hdf5(RGB, None, shape=(10**8,), dtype=h5py.vlen_dtype(np.uint8)),
        "has 100000000 frames",
    ),
    "a billion joints": ("hdf5", hdf5(STATES, None, shape=(12, 10**9), dtype=np.float64), "declares"),
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


@pytest.mark.parametrize(("layout", "damage", "says"), EPISODES.values(), ids=EPISODES)
def test_a_malformed_episode_is_one_sentence(tmp_path, episode_file, capsys, layout, damage, says):
    damage(episode_file(layout))
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert prepare_dataset([*arguments, "--horizon", "5"]) == 2
    assert re.search(says, sentence_of(capsys))
    assert not (tmp_path / "out" / "index.jsonl").exists()


@pytest.mark.parametrize(("layout", "damage", "says"), JOINTS.values(), ids=JOINTS)
def test_what_an_export_reads_besides_is_one_sentence(tmp_path, episode_file, capsys, layout, damage, says):
    """Joints, and sizes that are declared: refused before anything of that size is read."""
    damage(episode_file(layout))
    arguments = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    arguments += ["--fps", "5"] if layout == "pkl" else []  # the others say it themselves
    assert export_lerobot(arguments) == 2
    assert re.search(says, sentence_of(capsys))


@pytest.mark.parametrize(("arguments", "says"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_senseless_arguments_are_one_sentence(tmp_path, episode_file, capsys, arguments, says):
    episode_file("hdf5")
    given = ["--episodes", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--workers", "1", *arguments]
    assert prepare_dataset(given) == 2
    assert re.search(says, sentence_of(capsys))
