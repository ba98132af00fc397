"""Laws of hdf5 episodes: RoboTwin 2.0, XPolicyLab, RDT."""

import json
import pickle

import h5py
import numpy as np
import pytest

from dataset_tools.readers.robotwin_hdf5 import read_hdf5_episode
from dataset_tools.readers.robotwin_pkl import read_pkl_episode
from dataset_tools.writers.robotwin import encode_jpeg, write_hdf5_episode
from tests.dataset_tools.layouts import make_states, read_index, square_frames


def read(path, **options):
    return read_hdf5_episode(path, task="task", number=0, **options)


@pytest.mark.parametrize(("layout", "joints"), [("hdf5", 14), ("rdt", 14), ("xpolicylab", 15)])
def test_joints_are_read_however_many_there_are(episode_file, layout, joints):
    episode = read(episode_file(layout))
    assert np.array_equal(episode.joints.states, make_states(12, joints))
    assert np.array_equal(episode.joints.actions, make_states(12, joints))


def test_the_file_says_its_rate(episode_file):
    assert read(episode_file("hdf5")).frames_per_second == 5.0
    assert read(episode_file("xpolicylab")).frames_per_second == pytest.approx(50 / 3)
    assert read(episode_file("rdt"), save_freq=15).frames_per_second == pytest.approx(50 / 3)


def test_seen_and_unseen_sentences_are_found_beside_the_data(episode_file):
    path = episode_file("hdf5")
    sentences = path.parents[1] / "instructions" / "episode0.json"
    sentences.parent.mkdir()
    sentences.write_text(json.dumps({"seen": ["a", "b"], "unseen": ["c"]}))
    episode = read(path)
    assert episode.instructions == ("a", "b") and episode.notes["unseen"] == ("c",)
    assert read(episode_file("xpolicylab")).instructions == ("move the square", "push the square")


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
    assert [read_index(frame) for frame in read(path).frames()] == list(range(6))


def test_the_observers_camera_is_a_camera(episode_file):
    path = episode_file("hdf5")
    with h5py.File(path, "a") as file:
        file["third_view_rgb"] = np.array([encode_jpeg(frame, true_rgb=False) for frame in square_frames(12, first=9)])
    episode = read(path, camera="third_view")
    assert episode.cameras == ("head_camera", "left_camera", "third_view") and read_index(episode.read_frame(0)) == 9


def test_an_episode_can_be_sent_to_another_process(episode_file):
    episode = pickle.loads(pickle.dumps(read(episode_file("hdf5"))))
    assert read_index(episode.read_frame(7)) == 7


def test_a_rewritten_file_is_read_anew(episode_file):
    """Pictures are kept in memory by path; the file's time and size must tell that it changed."""
    path = episode_file("hdf5")
    assert read_index(read(path).read_frame(0)) == 0
    write_hdf5_episode(path, square_frames(4, first=9), make_states(4))
    assert read_index(read(path).read_frame(0)) == 9


@pytest.mark.real_data
@pytest.mark.parametrize("true_rgb", [False, True])
def test_the_real_episode_survives_version_2_in_both_conventions(tmp_path, real_episode, true_rgb):
    original = read_pkl_episode(real_episode / "episode0", task="task", number=0)
    frames = np.stack([original.read_frame(index) for index in (0, 40, 74)])
    path = tmp_path / "episode0.hdf5"
    write_hdf5_episode(path, frames, original.joints.states[[0, 40, 74]], true_rgb=true_rgb)
    for index, frame in enumerate(read(path).frames()):
        assert np.abs(frame.astype(int) - frames[index]).mean() < 1
