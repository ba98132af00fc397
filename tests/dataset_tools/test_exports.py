"""Laws of the three exports: picture files, LeRobot, and what `datasets` and diffusers' script look for."""

import json
from dataclasses import replace

import huggingface_hub
import numpy as np
import pyarrow.parquet as pq
import pytest

from commands.errors import UserError
from dataset_tools.episode import group_views
from dataset_tools.export_frames import main as export_frames
from dataset_tools.export_hub import main as export_hub
from dataset_tools.export_lerobot import main as export_lerobot
from dataset_tools.preparing.instructions import SentenceRule
from dataset_tools.readers.clips import find_episodes as find_clips
from dataset_tools.readers.detect import find_episodes
from dataset_tools.readers.lerobot import find_episodes as find_lerobot
from dataset_tools.writers import hub
from dataset_tools.writers.frames import write_frames
from dataset_tools.writers.hub import export_folder, push_folder
from dataset_tools.writers.lerobot import common_rate, with_sentences, write_lerobot
from formats.pictures import read_picture
from formats.prepared_folder import read_manifest
from tests.dataset_tools.layouts import read_index


def test_the_frames_read_back_as_the_same_episodes(tmp_path, episodes_folder):
    folder = episodes_folder("hdf5", tasks=("block_handover", "stack_blocks"), count=2)
    assert export_frames(["--episodes", str(folder), "--output", str(tmp_path / "frames")]) == 0
    assert (tmp_path / "frames" / "stack_blocks" / "episode1_frame11.jpg").is_file()
    again = find_episodes(tmp_path / "frames")
    assert [(e.task, e.number) for e in again] == [("block_handover", 0), ("block_handover", 1), ("stack_blocks", 0),
                                                   ("stack_blocks", 1)]  # fmt: skip
    assert [read_index(frame) for frame in again[3].frames()] == list(range(12))
    assert write_frames(again[:1], tmp_path / "png", "png") == 12


def test_two_cameras_would_take_each_others_names(tmp_path, episodes_folder, capsys):
    given = ["--episodes", str(episodes_folder(count=1)), "--camera", "head_camera", "left_camera"]
    assert export_frames([*given, "--output", str(tmp_path / "frames")]) == 2
    assert "export its camera or folder apart" in capsys.readouterr().err and not (tmp_path / "frames").exists()


def test_several_cameras_become_features_of_one_episode(tmp_path, episodes_folder):
    folder = episodes_folder("hdf5", count=2)
    output = tmp_path / "set"
    cameras = ["--camera", "head_camera", "left_camera"]
    assert export_lerobot(["--episodes", str(folder), "--output", str(output), *cameras]) == 0
    for camera in ("head_camera", "left_camera"):
        episodes = find_lerobot(output, camera=camera)
        assert [episode.number for episode in episodes] == [0, 1]
        assert read_index(episodes[1].read_frame(9)) == 9
    assert episodes[0].instructions == ("beat the block with the hammer",)


def test_an_unknown_rate_is_asked_for(tmp_path, episodes_folder, capsys):
    arguments = ["--episodes", str(episodes_folder("pkl", count=1)), "--output", str(tmp_path / "set")]
    assert export_lerobot(arguments) == 2
    assert "give --fps" in capsys.readouterr().err
    assert export_lerobot([*arguments, "--fps", "0"]) == 2
    assert "more than 0" in capsys.readouterr().err
    assert export_lerobot([*arguments, "--fps", "5", "--robot", "aloha"]) == 0
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["robot_type"] == "aloha"


def test_a_known_rate_is_not_overridden_and_two_are_refused(episode):
    known, unknown = episode("hdf5", number=0), replace(episode("hdf5", number=1), save_freq=None)
    assert [recording.main.number for recording in group_views([known, unknown])] == [0, 1]
    assert common_rate([known, unknown], 5.01) == common_rate([known]) == 5.0
    assert common_rate([unknown], 30.0) == 30.0
    with pytest.raises(ValueError, match="--fps is 30, but the episodes say 5 themselves; leave --fps out"):
        common_rate([known], 30.0)
    with pytest.raises(ValueError, match="differ in frame rate"):
        common_rate([known, episode("xpolicylab", number=1)])


@pytest.mark.real_data
def test_real_clips_name_their_columns_and_keep_droids_joints(tmp_path, real_clips):
    """DROID's `states` are Cartesian: they are no joints, and its joints are not dropped."""
    for name, joints in (("droid", 8), ("bridge", None)):
        episodes = find_clips(real_clips / name)
        write_lerobot(
            with_sentences(group_views(episodes[:1]), SentenceRule()), tmp_path / name, rate=common_rate(episodes)
        )
        features = json.loads((tmp_path / name / "meta/info.json").read_text())["features"]
        assert features["observation.state"]["names"] == [f"state_{column}" for column in range(7)]
        assert ("observation.joints" in features) == (joints is not None)
        (before, *_), (after,) = episodes, find_lerobot(tmp_path / name)
        assert after.joints.state_names == before.joints.state_names
        if joints:
            assert features["observation.joints"] == {
                "dtype": "float32", "shape": [joints], "names": [f"joint_{column}" for column in range(joints)]
            }  # fmt: skip
            assert np.allclose(after.joints.angles, before.joints.angles, atol=1e-6)


@pytest.fixture
def folder(prepared):
    return prepared("--horizon", "5", count=3)


@pytest.mark.reference
def test_the_datasets_package_reads_splits_pictures_and_numbers(tmp_path, folder):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    assert export_hub([str(folder), "--output", str(tmp_path / "hub")]) == 0
    loaded = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 7, "validation": 7, "test": 7}
    for pair, row in zip(read_manifest(folder, "val"), loaded["validation"], strict=True):
        assert row["pair_id"] == pair.pair_id and row["edit_prompt"] == pair.instruction
        assert (row["source_frame"], row["target_frame"]) == (pair.source_index, pair.target_index)
        assert read_index(np.asarray(row["original_image"])) == pair.source_index
        assert np.array_equal(np.asarray(row["edited_image"]), read_picture(pair.target_path(folder)).pixels)


def test_large_sets_are_cut_into_files_of_the_columns_of_diffusers_script(tmp_path, folder, monkeypatch):
    """train_instruct_pix2pix.py: --original_image_column, --edit_prompt_column, --edited_image_column."""
    monkeypatch.setattr(hub, "FILE_BYTES", 9000)
    export_folder(folder, tmp_path / "hub")
    files = sorted((tmp_path / "hub" / "data").glob("train-*"))
    assert len(files) > 1 and files[-1].name == f"train-{len(files) - 1:05d}-of-{len(files):05d}.parquet"
    assert pq.read_schema(files[0]).names[:3] == ["original_image", "edit_prompt", "edited_image"]


def test_the_card_warns_of_a_leaky_split(tmp_path, prepared):
    export_folder(prepared("--horizon", "2", "--split", "leaky", count=3), tmp_path / "hub")
    assert "Split by pair, not by episode" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize("kind", [OSError, type("ConnectError", (Exception,), {})])
def test_a_push_that_fails_says_that_the_folder_is_whole(tmp_path, monkeypatch, kind):
    """No network here: the client raises its HTTP library's own class, and the user learns what is left to do."""

    def refuse(*_, **__):
        raise kind("We have no connection\nsecond line")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    command = f"hf upload me/frames {tmp_path} . --repo-type dataset"
    with pytest.raises(UserError, match=f"We have no connection.*hf auth login.*is whole.*: {command} --private$"):
        push_folder(tmp_path, "me/frames", private=True)
    with pytest.raises(UserError, match=f"{command}$"):
        push_folder(tmp_path, "me/frames", private=False)


def test_a_push_uploads_the_folder_as_a_data_set(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda self, repo, **given: calls.append(given) or "address"
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **given: calls.append(given))
    assert push_folder(tmp_path, "me/frames", private=True) == "address"
    assert calls[0]["private"] and calls[1] == {"folder_path": tmp_path, "repo_id": "me/frames", "repo_type": "dataset"}
