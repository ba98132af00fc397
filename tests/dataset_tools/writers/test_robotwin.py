"""What RoboTwin's two layouts hold, and in which colours."""

import io
import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from commands.errors import sentence_for
from dataset_tools.writers.robotwin import CameraView, write_hdf5_episode, write_instructions, write_pkl_episode

RED, BLUE = (255, 1, 1), (1, 1, 255)
LENGTH = 3


def red_frames(length: int = LENGTH) -> np.ndarray:
    return np.tile(np.array(RED, np.uint8), (length, 16, 16, 1))


def some_states(length: int = LENGTH) -> np.ndarray:
    return np.arange(length * 14, dtype=np.float64).reshape(length, 14)


def some_view() -> CameraView:
    return CameraView(np.eye(3), np.tile(np.eye(4)[:3], (LENGTH, 1, 1)), np.tile(np.eye(4), (LENGTH, 1, 1)))


@pytest.mark.parametrize(("true_rgb", "seen"), [(False, BLUE), (True, RED)])
def test_red_is_stored_as_blue_like_robotwin_2_or_says_that_it_is_not(tmp_path, true_rgb, seen):
    """OpenCV took RoboTwin's RGB for BGR; files since September 2026 carry a comment by which readers know."""
    write_hdf5_episode(tmp_path / "episode0.hdf5", red_frames(), some_states(), true_rgb=true_rgb)
    with h5py.File(tmp_path / "episode0.hdf5") as file:
        picture = Image.open(io.BytesIO(file["observation/head_camera/rgb"][0]))
    assert np.abs(np.asarray(picture, int) - seen).max() < 8
    assert picture.info.get("comment") == (b"XPL-RGB1" if true_rgb else None)


def test_padding_costs_no_byte_of_a_jpeg(tmp_path):
    """Pictures of unequal size share one dtype S<longest>; each ends as a JPEG ends."""
    rng = np.random.default_rng(0)
    frames = np.stack([red_frames(1)[0], rng.integers(0, 256, (16, 16, 3), np.uint8)])
    write_hdf5_episode(tmp_path / "episode0.hdf5", frames, some_states(2))
    with h5py.File(tmp_path / "episode0.hdf5") as file:
        stored = file["observation/head_camera/rgb"][()]
    assert stored.dtype.kind == "S" and stored.dtype.itemsize == max(map(len, stored))
    assert all(jpeg.endswith(b"\xff\xd9") for jpeg in stored)


def test_hdf5_holds_robotwin_2s_keys(tmp_path):
    """Shapes as in a downloaded file; attributes besides."""
    path = tmp_path / "episode0.hdf5"
    states = some_states()
    write_hdf5_episode(
        path,
        {"head_camera": red_frames(), "left_camera": red_frames()},
        states,
        endposes=np.zeros((LENGTH, 2, 7)),
        views={"head_camera": some_view()},
        attributes={"save_freq": 50},
    )
    with h5py.File(path) as file:
        assert file["joint_action/vector"].shape == (LENGTH, 14)
        assert np.array_equal(file["joint_action/right_arm"], states[:, 7:13])
        assert np.array_equal(file["joint_action/left_gripper"], states[:, 6])
        assert file["endpose/left_endpose"].shape == (LENGTH, 7)
        assert file["observation/head_camera/intrinsic_cv"].shape == (LENGTH, 3, 3)
        assert file["observation/head_camera/extrinsic_cv"].shape == (LENGTH, 3, 4)
        assert file["observation/head_camera/cam2world_gl"].shape == (LENGTH, 4, 4)
        assert set(file["observation"]) == {"head_camera", "left_camera"}
        assert file["pointcloud"].shape == (LENGTH, 0)
        assert file.attrs["save_freq"] == 50


def test_pkl_holds_robotwin_1s_dictionary(tmp_path):
    """One pickle a frame, pictures exact."""
    folder = tmp_path / "episode0"
    states = some_states()
    write_pkl_episode(folder, red_frames(), states, views={"head_camera": some_view()})
    assert sorted(path.name for path in folder.iterdir()) == ["0.pkl", "1.pkl", "2.pkl"]
    content = pickle.loads((folder / "2.pkl").read_bytes())
    assert set(content) == {"observation", "pointcloud", "joint_action", "endpose"}
    camera = content["observation"]["head_camera"]
    assert camera["rgb"].dtype == np.uint8 and np.array_equal(camera["rgb"], red_frames()[2])
    assert camera["extrinsic_cv"].shape == (3, 4) and camera["extrinsic_cv"].dtype == np.float32
    assert content["joint_action"].dtype == np.float64 and np.array_equal(content["joint_action"], states[2])
    assert content["endpose"].shape == (14,)
    assert content["pointcloud"] == []


def test_endpose_of_a_quarter_turn_is_a_yaw(tmp_path):
    """1.0 stores roll, pitch, yaw where 2.0 stores a quaternion."""
    endposes = np.zeros((LENGTH, 2, 7))
    endposes[:, 1] = [0.1, 0.2, 0.3, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    write_pkl_episode(tmp_path / "episode0", red_frames(), some_states(), endposes=endposes)
    endpose = pickle.loads((tmp_path / "episode0" / "1.pkl").read_bytes())["endpose"]
    assert np.allclose(endpose[7:], [0.1, 0.2, 0.3, 0, 0, np.pi / 2, some_states()[1, 13]])


@pytest.mark.parametrize("write", [write_pkl_episode, write_hdf5_episode])
def test_writing_twice_gives_the_same_bytes(tmp_path, write):
    """A resumed run can be compared with an uninterrupted one, file by file."""
    for name in ("a", "b", "a"):
        write(tmp_path / name, red_frames(), some_states())
    files = [tmp_path / name if write is write_hdf5_episode else tmp_path / name / "1.pkl" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    """HDF5 cannot close a file on a full disk; so the file is made in memory, and the plain write of it fails."""
    path = tmp_path / "episode0.hdf5"
    path.write_bytes(b"old")
    path.with_name(f".episode0.{os.getpid()}.partial.hdf5").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write_hdf5_episode(path, red_frames(), some_states())
    assert f"the disk is full, nothing half-written was kept ({path})" in sentence_for(caught.value)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("frames", "states", "message"),
    [
        (red_frames(), some_states()[:, :13], r"\(3, 13\), wanted \(T, 14\)"),
        (red_frames().astype(float), some_states(), "float64 .* wanted uint8"),
        (red_frames(2), some_states(), "2 frames, but there are 3 states"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, frames, states, message):
    """The message tells what came and what was wanted."""
    with pytest.raises(ValueError, match=message):
        write_hdf5_episode(tmp_path / "episode0.hdf5", frames, states)


def test_instructions_keep_seen_and_unseen_apart(tmp_path):
    """RoboTwin 2.0's own two lists."""
    write_instructions(tmp_path / "instructions" / "episode0.json", ["stack"], ["pile"])
    content = json.loads((tmp_path / "instructions" / "episode0.json").read_text())
    assert content == {"seen": ["stack"], "unseen": ["pile"]}
