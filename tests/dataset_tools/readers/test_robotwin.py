"""Laws of RoboTwin's episodes: folders as people have them, 1.0's pickles, hdf5 of 2.0, XPolicyLab and RDT."""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset_tools.readers.robotwin import find_episodes, task_of_hdf5
from dataset_tools.readers.robotwin_hdf5 import read_hdf5_episode
from dataset_tools.readers.robotwin_pkl import read_pkl_episode
from dataset_tools.readers.safe_pickle import read_pickle
from dataset_tools.writers.robotwin import encode_jpeg, write_hdf5_episode
from tests.dataset_tools.layouts import make_states, read_index, square_frames


def test_episodes_are_sorted_by_task_then_as_numbers(episodes_folder):
    folder = episodes_folder("hdf5", tasks=("stack_blocks_two", "beat_block_hammer"), count=12, length=2)
    found = [(episode.task, episode.number) for episode in find_episodes(folder)]
    tasks = ("beat_block_hammer", "stack_blocks_two")
    assert found == [(task, number) for task in tasks for number in range(12)]


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("data/beat_block_hammer/demo_clean/data/episode0.hdf5", "beat_block_hammer"),
        ("data/demo_clean/beat_block_hammer/aloha-agilex/data/episode_0000000.hdf5", "beat_block_hammer"),
        ("processed_data/block_hammer_beat_D435_pkl_100/episode_0.hdf5", "block_hammer_beat"),
    ],
)
def test_the_task_of_an_hdf5_file_stands_in_its_path(path, task):
    assert task_of_hdf5(Path("/x") / path) == task


def read_hdf5(path, **options):
    return read_hdf5_episode(path, task="task", number=0, **options)


@pytest.mark.parametrize(("layout", "joints"), [("hdf5", 14), ("rdt", 14), ("xpolicylab", 15)])
def test_joints_are_read_however_many_there_are(episode_file, layout, joints):
    episode = read_hdf5(episode_file(layout))
    assert np.array_equal(episode.joints.states, make_states(12, joints))
    assert np.array_equal(episode.joints.actions, make_states(12, joints))


def test_pickles_give_the_joints_of_one_arm_or_two_or_none(folder):
    """States are the drive targets and equal the actions."""
    joints = read_pkl(folder).joints
    assert np.array_equal(joints.states, make_states(12)) and np.array_equal(joints.actions, joints.states)
    for index in range(12):
        rewrite(folder / f"{index}.pkl", lambda content: content.update(joint_action=content["joint_action"][:7]))
    assert read_pkl(folder).joints.states.shape == (12, 7)
    rewrite(folder / "0.pkl", lambda content: content.pop("joint_action"))
    assert read_pkl(folder).joints.states is None


def test_another_camera_is_another_picture(folder, episode_file):
    """And the observer's is one too."""
    head, left = read_pkl(folder).read_frame(5), read_pkl(folder, camera="left_camera").read_frame(5)
    assert read_index(head) == read_index(left) == 5 and not np.array_equal(head, left)
    path = episode_file("hdf5")
    with h5py.File(path, "a") as file:
        file["third_view_rgb"] = np.array([encode_jpeg(frame, true_rgb=False) for frame in square_frames(12, first=9)])
    episode = read_hdf5(path, camera="third_view")
    assert episode.cameras == ("head_camera", "left_camera", "third_view") and read_index(episode.read_frame(0)) == 9


@pytest.mark.parametrize("root", [".cache/downloads", "Roboter Daten/机器人 données"])
def test_what_is_no_episode_is_left_alone_wherever_the_folder_lies(episode_file, root):
    """Only what lies hidden below the given folder: Hugging Face keeps its downloads in a cache."""
    path = episode_file("hdf5", root=root)
    config = path.parents[1]
    for name in ("_traj_data/episode0.pkl", "_traj_data/episode0.hdf5", "video/episode0.mp4", ".cache/episode0.hdf5"):
        (config / name).parent.mkdir(exist_ok=True)
        (config / name).touch()
    (config / "data" / "episode1.hdf5.partial").touch()
    (episode,) = find_episodes(path.parents[3])
    assert episode.source == path and read_index(episode.read_frame(3)) == 3


def test_the_file_says_its_rate(episode_file):
    assert read_hdf5(episode_file("hdf5")).frames_per_second == 5.0
    assert read_hdf5(episode_file("xpolicylab")).frames_per_second == pytest.approx(50 / 3)
    assert read_hdf5(episode_file("rdt"), save_freq=15).frames_per_second == pytest.approx(50 / 3)


def test_seen_and_unseen_sentences_are_found_beside_the_data(episode_file):
    path = episode_file("hdf5")
    sentences = path.parents[1] / "instructions" / "episode0.json"
    sentences.parent.mkdir()
    sentences.write_text(json.dumps({"seen": ["a", "b"], "unseen": ["c"]}))
    episode = read_hdf5(path)
    assert episode.instructions == ("a", "b") and episode.notes["unseen"] == ("c",)
    assert read_hdf5(episode_file("xpolicylab")).instructions == ("move the square", "push the square")


@pytest.mark.parametrize("stored", ["padded bytes", "lengths of their own", "arrays"])
def test_every_way_to_store_pictures_is_read(tmp_path, stored):
    frames, path = square_frames(6), tmp_path / "episode0.hdf5"
    jpegs = [encode_jpeg(frame, true_rgb=False) for frame in frames]
    with h5py.File(path, "w") as file:
        if stored == "padded bytes":
            longest = max(map(len, jpegs)) + 7
            rows = [np.frombuffer(jpeg.ljust(longest, b"\0"), np.uint8) for jpeg in jpegs]
            file["observation/head_camera/rgb"] = np.stack(rows)
        elif stored == "arrays":
            file["observation/head_camera/rgb"] = frames
        else:
            column = file.create_dataset("observation/head_camera/rgb", (6,), h5py.vlen_dtype(np.uint8))
            for index, jpeg in enumerate(jpegs):
                column[index] = np.frombuffer(jpeg, np.uint8)
    assert [read_index(frame) for frame in read_hdf5(path).frames()] == list(range(6))


def test_an_episode_can_be_sent_to_another_process(episode_file):
    episode = pickle.loads(pickle.dumps(read_hdf5(episode_file("hdf5"))))
    assert read_index(episode.read_frame(7)) == 7


def test_a_rewritten_file_is_read_anew(episode_file):
    """Pictures are kept in memory by path; the file's time and size must tell that it changed."""
    path = episode_file("hdf5")
    assert read_index(read_hdf5(path).read_frame(0)) == 0
    write_hdf5_episode(path, square_frames(4, first=9), make_states(4))
    assert read_index(read_hdf5(path).read_frame(0)) == 9


@pytest.mark.real_data
@pytest.mark.parametrize("true_rgb", [False, True])
def test_the_real_episode_survives_version_2_in_both_conventions(tmp_path, real_episode, true_rgb):
    original = read_pkl_episode(real_episode / "episode0", task="task", number=0)
    frames = np.stack([original.read_frame(index) for index in (0, 40, 74)])
    path = tmp_path / "episode0.hdf5"
    write_hdf5_episode(path, frames, original.joints.states[[0, 40, 74]], true_rgb=true_rgb)
    for index, frame in enumerate(read_hdf5(path).frames()):
        assert np.abs(frame.astype(int) - frames[index]).mean() < 1


@pytest.fixture
def folder(episode_file):
    return episode_file("pkl", length=12)


def read_pkl(folder, **options):
    return read_pkl_episode(folder, task="task", number=0, **options)


def rewrite(path, change) -> None:
    content = read_pickle(path)
    change(content)
    path.write_bytes(pickle.dumps(content, 4))


@pytest.mark.real_data
def test_the_real_episode_is_red_where_the_block_is(real_episode):
    """75 frames of block_hammer_beat; the block is RGB (255, 1, 1) in the recording."""
    episode = read_pkl(real_episode / "episode0")
    frame = episode.read_frame(0).astype(int)
    red = (frame[..., 0] > 200) & (frame[..., 1] < 60) & (frame[..., 2] < 60)
    blue = (frame[..., 2] > 200) & (frame[..., 1] < 60) & (frame[..., 0] < 60)
    assert (episode.length, frame.shape, episode.joints.states.shape) == (75, (240, 320, 3), (75, 14))
    assert red.sum() > 300 and blue.sum() == 0
