"""Writes episodes in RoboTwin's two layouts: 1.0 (a folder of pickles) and 2.0 (one hdf5 file).

RoboTwin 2.0 hands RGB arrays to OpenCV, which takes them for BGR: the JPEGs in its hdf5 files have red and blue
swapped, and `cv2.imdecode` gives RGB. Files collected since September 2026 are true RGB and say so in a JPEG comment.
"""

import io
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from einops import rearrange
from PIL import Image

from dataset_tools.readers.robotwin_hdf5 import TRUE_RGB_COMMENT
from formats.atomic import atomic_path, draft_folder, write_json
from simulator.recorder import CameraView, Trajectory

HEAD_CAMERA = "head_camera"
JPEG_QUALITY = 95  # OpenCV's default
ARM_JOINTS = 6
STATE_SIZE = 14
PICKLE_PROTOCOL = 4  # RoboTwin's own

Frames = np.ndarray | Mapping[str, np.ndarray]  # uint8 (T, H, W, 3) RGB of the head camera, or of several by name


def write_pkl_episode(
    folder: Path,
    frames: Frames,
    states: np.ndarray,
    *,
    endposes: np.ndarray | None = None,
    views: Mapping[str, CameraView] | None = None,
) -> None:
    """Write `folder`/0.pkl, 1.pkl, ... as RoboTwin 1.0 does; the folder appears when it is whole.

    Args:
        folder: `<data>/<task>_D435_pkl/episode<i>`; what stood there is replaced.
        frames: uint8 (T, H, W, 3) RGB, of the head camera or of several cameras by name.
        states: (T, 14) joint targets: left 6 + gripper, right 6 + gripper.
        endposes: (T, 2, 7) left and right x, y, z, quaternion w, x, y, z; zeros where not given.
        views: matrices by camera name; cameras without one carry the picture only.
    """
    cameras = _check_frames(frames, states)
    poses = np.zeros((len(states), 2, 7)) if endposes is None else endposes
    rows = _endpose_rows(poses, states)
    shutil.rmtree(folder, ignore_errors=True)
    with draft_folder(folder) as draft:
        for t, state in enumerate(states):
            content = {
                "observation": {name: _observe(seen[t], (views or {}).get(name), t) for name, seen in cameras.items()},
                "pointcloud": [],
                "joint_action": np.array(state, np.float64),
                "endpose": rows[t],
            }
            (draft / f"{t}.pkl").write_bytes(pickle.dumps(content, protocol=PICKLE_PROTOCOL))


def write_hdf5_episode(
    path: Path,
    frames: Frames,
    states: np.ndarray,
    *,
    endposes: np.ndarray | None = None,
    views: Mapping[str, CameraView] | None = None,
    attributes: Mapping[str, str | int | float] | None = None,
    simulation: Trajectory | None = None,
    true_rgb: bool = False,
) -> None:
    """Write one RoboTwin 2.0 file; it appears when it is whole.

    Args:
        path: `<data>/<task>/<config>/data/episode<i>.hdf5`; what stood there is replaced.
        frames, states, endposes, views: as in `write_pkl_episode`.
        attributes: of the file's root, such as save_freq; RoboTwin's own readers ignore them.
        simulation: of a simulated episode; the targets executed (`states` are the script's, without the operator's
            noise), the joints measured and the objects' poses go to the group `simulation`, which RoboTwin's own
            readers ignore.
        true_rgb: write JPEGs in their true colours, marked by the comment XPL-RGB1; otherwise red and blue are
            swapped, as RoboTwin 2.0's are.
    """
    cameras = _check_frames(frames, states)
    # Made in memory: HDF5 itself cannot close a file on a full disk, and raises from wherever it is let go.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        file.attrs.update(attributes or {})
        for name, pictures in cameras.items():
            group = file.create_group(f"observation/{name}")
            # dtype S<longest>: numpy pads with NUL, and strips it on reading; a JPEG ends in FFD9, so nothing is lost.
            group["rgb"] = np.array([encode_jpeg(picture, true_rgb=true_rgb) for picture in pictures])
            if views and name in views:
                view = views[name]
                group["intrinsic_cv"] = np.tile(view.intrinsic.astype(np.float32), (len(pictures), 1, 1))
                group["extrinsic_cv"] = view.extrinsic.astype(np.float32)
                group["cam2world_gl"] = view.cam2world_gl.astype(np.float32)
        _write_motion(file, np.asarray(states, np.float64), endposes)
        if simulation is not None:
            file["simulation/executed"] = simulation.executed
            file["simulation/measured"] = simulation.measured
            for name, poses in simulation.objects.items():
                file[f"simulation/objects/{name}"] = poses
        file["pointcloud"] = np.zeros((len(states), 0))
        file.flush()
        content = file.id.get_file_image()
    with atomic_path(path) as draft:
        draft.write_bytes(content)


def write_instructions(path: Path, seen: list[str], unseen: list[str]) -> None:
    """Write RoboTwin 2.0's `instructions/episode<i>.json`."""
    write_json(path, {"seen": seen, "unseen": unseen})


def encode_jpeg(picture: np.ndarray, *, true_rgb: bool) -> bytes:
    """JPEG of a uint8 (H, W, 3) RGB picture, with red and blue swapped unless `true_rgb`."""
    buffer = io.BytesIO()
    if true_rgb:
        Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, comment=TRUE_RGB_COMMENT)
    else:
        Image.fromarray(np.ascontiguousarray(picture[..., ::-1])).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _check_frames(frames: Frames, states: np.ndarray) -> dict[str, np.ndarray]:
    cameras = dict(frames) if isinstance(frames, Mapping) else {HEAD_CAMERA: frames}
    if states.ndim != 2 or states.shape[1] != STATE_SIZE:
        raise ValueError(f"states have the shape {states.shape}, wanted (T, {STATE_SIZE}): two arms of 6 + gripper")
    for name, pictures in cameras.items():
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
            raise ValueError(
                f"frames of {name} are {pictures.dtype} {pictures.shape}, wanted uint8 (T, H, W, 3) RGB in 0..255"
            )
        if len(pictures) != len(states):
            raise ValueError(
                f"{name} has {len(pictures)} frames, but there are {len(states)} states: give one for each"
            )
    return cameras


def _observe(picture: np.ndarray, view: CameraView | None, t: int) -> dict[str, np.ndarray]:
    observation = {"rgb": np.ascontiguousarray(picture)}
    if view is not None:
        observation["intrinsic_cv"] = view.intrinsic.astype(np.float32)
        observation["extrinsic_cv"] = view.extrinsic[t].astype(np.float32)
        observation["cam2world_gl"] = view.cam2world_gl[t].astype(np.float32)
    return observation


def _endpose_rows(endposes: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(T, 14): x, y, z, roll, pitch, yaw, gripper of the left arm, then of the right one."""
    w, x, y, z = (endposes[..., i] for i in range(3, 7))
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    grippers = states[:, [ARM_JOINTS, -1]]
    per_arm = np.concatenate([endposes[..., :3], np.stack([roll, pitch, yaw, grippers], axis=-1)], axis=-1)
    return rearrange(per_arm, "t arm value -> t (arm value)")


def _write_motion(file: h5py.File, states: np.ndarray, endposes: np.ndarray | None) -> None:
    arms = rearrange(states, "t (arm value) -> arm t value", arm=2)
    for side, arm in zip(("left", "right"), arms, strict=True):
        file[f"joint_action/{side}_arm"] = arm[:, :ARM_JOINTS]
        file[f"joint_action/{side}_gripper"] = arm[:, ARM_JOINTS]
    file["joint_action/vector"] = states
    if endposes is None:
        return
    for i, side in enumerate(("left", "right")):
        file[f"endpose/{side}_endpose"] = endposes[:, i]
        file[f"endpose/{side}_gripper"] = arms[i][:, ARM_JOINTS]
