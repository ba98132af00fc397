"""Writes the moving-square episode in every layout that the readers take.

A red square on dark grey moves one pixel to the right per frame: `read_index` tells the frame number from the pixels,
and a reader that swaps red and blue finds no square at all. A second camera sees the same square on green ground.
"""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_tools.episode import Episode, Joints
from dataset_tools.writers.lerobot import Recording, write_lerobot
from dataset_tools.writers.robotwin import encode_jpeg, write_hdf5_episode, write_pkl_episode
from formats.pictures import encode_picture

HEIGHT, WIDTH, SQUARE = 48, 64, 8
LONGEST = WIDTH - SQUARE + 1
RED, GREY, GREEN = (220, 30, 30), (40, 40, 40), (40, 120, 40)


def square_frames(length: int, *, ground: tuple[int, int, int] = GREY, first: int = 0) -> np.ndarray:
    """uint8 (length, 48, 64, 3): the square's left edge is at column first + frame number."""
    assert first + length <= LONGEST
    frames = np.empty((length, HEIGHT, WIDTH, 3), np.uint8)
    frames[:] = ground
    for index in range(length):
        frames[index, 20 : 20 + SQUARE, first + index : first + index + SQUARE] = RED
    return frames


def read_index(pixels: np.ndarray) -> int:
    """Column of the square's left edge, in a picture of any size."""
    redness = (pixels[..., 0].astype(int) - pixels[..., 2].astype(int)).clip(0)
    assert redness.max() > 90, "no red square: red and blue are swapped"
    # The centre of mass stays where it is when an encoder blurs colours or a picture is resized.
    centre = np.average(np.arange(pixels.shape[1]) + 0.5, weights=redness.sum(axis=0) * (redness.max(axis=0) > 20))
    return round(centre * WIDTH / pixels.shape[1] - SQUARE / 2)


def make_states(length: int, joints: int = 14) -> np.ndarray:
    """Joint j of frame t is t + j / 100, exact in float32 after rounding to 1 / 1024."""
    table = np.arange(length)[:, None] + np.arange(joints)[None, :] / 100
    return np.round(table * 1024) / 1024


def write_pkl(root: Path, task: str, number: int, length: int, **options) -> Path:
    """RoboTwin 1.0."""
    folder = root / f"{task}_D435_pkl" / f"episode{number}"
    write_pkl_episode(folder, _two_cameras(length), make_states(length))
    (root / f"{task}_D435_pkl" / "scene_info.json").write_text("{}")
    return folder


def write_hdf5(root: Path, task: str, number: int, length: int, *, true_rgb: bool = False) -> Path:
    """RoboTwin 2.0."""
    path = root / task / "demo_clean" / "data" / f"episode{number}.hdf5"
    write_hdf5_episode(path, _two_cameras(length), make_states(length), true_rgb=true_rgb, attributes={"save_freq": 50})
    return path


def write_hdf5_true_rgb(root: Path, task: str, number: int, length: int) -> Path:
    """RoboTwin 2.0 since September 2026."""
    return write_hdf5(root, task, number, length, true_rgb=True)


def write_xpolicylab(root: Path, task: str, number: int, length: int) -> Path:
    """XPolicyLab v1.0, with a 7-joint and a 6-joint arm."""
    path = root / "demo_clean" / task / "aloha" / "data" / f"episode_{number:07d}.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    states = make_states(length, 15)
    with h5py.File(path, "w") as file:
        file.attrs["data_format_version"] = "v1.0"
        file["instructions"] = json.dumps(["move the square", "push the square"])
        file["additional_info/frequency"] = 50 / 3
        file["vision/cam_head/colors"] = np.array([encode_jpeg(f, true_rgb=True) for f in square_frames(length)])
        for group in ("state", "action"):
            file[f"{group}/left_arm"], file[f"{group}/left_gripper"] = states[:, :7], states[:, 7]
            file[f"{group}/right_arm"], file[f"{group}/right_gripper"] = states[:, 8:14], states[:, 14]
    return path


def write_rdt(root: Path, task: str, number: int, length: int) -> Path:
    """RoboTwin 1.0's own conversion for RDT and pi0: true RGB without a mark."""
    path = root / f"{task}_D435_pkl_100" / f"episode_{number}.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["action"] = file["observations/qpos"] = make_states(length)
        file["observations/images/cam_high"] = np.array([encode_picture(f) for f in square_frames(length)])
    return path


def write_flat_frames(root: Path, task: str, number: int, length: int) -> Path:
    """episode{i}_frame{j}.jpg"""
    folder = root / task
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(square_frames(length)):
        (folder / f"episode{number}_frame{index}.jpg").write_bytes(encode_picture(frame))
    return folder


def write_frame_folders(root: Path, task: str, number: int, length: int) -> Path:
    """episode12/36.jpg, the task with hyphens as seen in the wild."""
    folder = root / task.replace("_", "-") / f"episode{number}"
    folder.mkdir(parents=True)
    for index, frame in enumerate(square_frames(length)):
        (folder / f"{index}.jpg").write_bytes(encode_picture(frame))
    return folder


def write_raw_frames(root: Path, task: str, number: int, length: int) -> Path:
    """RoboTwin 1.0 with save_type raw_data."""
    folder = root / task / f"episode{number}" / "camera" / "color" / "head"
    folder.mkdir(parents=True)
    for index, frame in enumerate(square_frames(length)):
        (folder / f"{index}.png").write_bytes(encode_picture(frame, "png"))
    return folder


def write_clip(root: Path, task: str, number: int, length: int) -> Path:
    """mp4 + annotation JSON; one action fewer than frames."""
    video = root / task / "videos" / str(number) / "rgb.mp4"
    write_video(video, square_frames(length))
    annotation = root / task / "annotation" / f"{number}.json"
    annotation.parent.mkdir(parents=True, exist_ok=True)
    states = make_states(length).tolist()
    stated = f"videos/val/{number}/rgb.mp4"
    content = {"texts": ["move the square"], "videos": [{"video_path": stated}], "state": states, "action": states[:-1]}
    annotation.write_text(json.dumps(content))
    return annotation


def write_lerobot_2(root: Path, task: str, number: int, length: int) -> Path:
    """LeRobot v2.1; call it once per data set."""
    key = "observation.images.head_camera"
    features = {key: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3]}, "action": {"dtype": "float32", "shape": [14]}}
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    meta = root / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(json.dumps(info))
    line = {"episode_index": number, "tasks": [task.replace("_", " ")], "length": length}
    (meta / "episodes.jsonl").write_text(json.dumps(line) + "\n")
    write_video(root / f"videos/chunk-000/{key}/episode_{number:06d}.mp4", square_frames(length))
    rows = {"action": make_states(length).tolist(), "frame_index": range(length), "episode_index": [number] * length}
    path = root / f"data/chunk-000/episode_{number:06d}.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: list(values) for name, values in rows.items()}), path)
    return root


def write_calvin(root: Path, stretches: list[tuple[str, str, int, int]], length: int = 20, first: int = 358482) -> Path:
    """CALVIN: a file a frame; `stretches` are sentence, task, first and last frame, none for play alone."""
    (root / "lang_annotations").mkdir(parents=True)
    np.save(root / "ep_start_end_ids.npy", np.array([[first, first + length - 1]]))
    observed = make_states(length, 15)
    for number, (static, gripper) in enumerate(
        zip(square_frames(length), square_frames(length, ground=GREEN), strict=True)
    ):
        arrays = {"rgb_static": static, "rgb_gripper": gripper, "robot_obs": observed[number]}
        arrays |= {"rel_actions": make_states(length, 7)[number], "depth_static": static[..., 0].astype(np.float32)}
        np.savez_compressed(root / f"episode_{first + number:07d}.npz", **arrays)
    if stretches:
        sentences, tasks, starts, ends = (list(column) for column in zip(*stretches, strict=True))
        places = [(np.int64(start), np.int64(end)) for start, end in zip(starts, ends, strict=True)]
        language = {"ann": sentences, "task": tasks, "emb": np.zeros((len(sentences), 1, 4), np.float32)}
        content = {"language": language, "info": {"episodes": [], "indx": places}}
        np.save(root / "lang_annotations" / "auto_lang_ann.npy", content, allow_pickle=True)
    return root


ARMS = tuple(f"{side}_arm_{joint}" for side in ("left", "right") for joint in range(7))
POSE = ("x", "y", "z", "roll", "pitch", "yaw")
ROBOTS = {  # published LeRobot exports: rate, cameras, columns of states and of actions
    "agibot": (
        30.0,
        ("head_center_fisheye", "head", "hand_left", "hand_right"),
        (*ARMS, "left_gripper", "right_gripper"),
        None,
    ),
    "fractal": (3.0, ("image",), ("x", "y", "z", "rx", "ry", "rz", "rw", "gripper"), (*POSE, "gripper")),
    "bridge": (5.0, ("image_0", "image_1", "image_2", "image_3"), (*POSE, "pad", "gripper"), (*POSE, "gripper")),
}


def write_robot_export(
    root: Path, robot: str, sentences: tuple[str, ...] = ("move the square",), length: int = 12
) -> Path:
    """A copy of the layout in which a robot's data are published, an episode a sentence; AgiBot's columns in parts."""
    rate, cameras, state_names, action_names = ROBOTS[robot]
    states = make_states(length, len(state_names))
    actions = states + 1 if action_names is None else make_states(length, len(action_names))
    joints = Joints(states, actions, None, state_names, action_names or state_names)
    frames = square_frames(length)
    views = {
        camera: Episode(robot, 0, length, root, frames.__getitem__, (), lambda: joints, cameras, camera, rate=rate)
        for camera in cameras
    }
    write_lerobot([Recording(views, instruction=sentence) for sentence in sentences], root, rate=rate)
    (root / "meta" / "episode_sources.jsonl").unlink()
    info = json.loads((root / "meta" / "info.json").read_text())
    for whole, prefix in (("observation.state", "observation.states."), ("action", "actions.")):
        names = info["features"][whole]["names"]
        info["features"][whole]["names"] = {"motors": names}
        if action_names is None:
            del info["features"][whole]
            for part, columns in (("joint.position", names[:-2]), ("effector.position", names[-2:])):
                feature = {"dtype": "float32", "shape": [len(columns)], "names": {"motors": columns}}
                info["features"][f"{prefix}{part}"] = feature
    if action_names is None:
        info["features"]["observation.images.head_depth"] = {"dtype": "image", "shape": [HEIGHT, WIDTH, 1]}
        for path in root.glob("data/*/*.parquet"):
            _part_columns(path)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


def _part_columns(path: Path) -> None:
    """Columns of AgiBot: joints and effectors apart."""
    table = pq.read_table(path)
    for whole, prefix in (("observation.state", "observation.states."), ("action", "actions.")):
        rows = np.array(table[whole].to_pylist())
        table = table.drop([whole])
        for part, columns in (("joint.position", rows[:, :-2]), ("effector.position", rows[:, -2:])):
            table = table.append_column(f"{prefix}{part}", pa.array(columns.tolist()))
    pq.write_table(table, path)


LAYOUTS: dict[str, Callable[..., Path]] = {
    "pkl": write_pkl,
    "hdf5": write_hdf5,
    "hdf5_true_rgb": write_hdf5_true_rgb,
    "xpolicylab": write_xpolicylab,
    "rdt": write_rdt,
    "flat_frames": write_flat_frames,
    "frame_folders": write_frame_folders,
    "raw_frames": write_raw_frames,
    "clip": write_clip,
    "lerobot_2": write_lerobot_2,
}


def write_video(
    path: Path, frames: np.ndarray, *, rate: int = 10, key_frame_every: int = 12, b_frames: int = 2
) -> None:
    """An mp4 as common encoders write it: B-frames, few key frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"g": str(key_frame_every), "bf": str(b_frames), "crf": "12"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _two_cameras(length: int) -> dict[str, np.ndarray]:
    return {"head_camera": square_frames(length), "left_camera": square_frames(length, ground=GREEN)}
