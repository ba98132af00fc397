"""Laws of the command that exports to LeRobot."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dataset_tools.export_lerobot import main
from dataset_tools.preparing.instructions import SentenceRule
from dataset_tools.readers.clips import find_episodes as find_clips
from dataset_tools.readers.lerobot import find_episodes
from dataset_tools.writers.lerobot import common_rate, group_views, write_lerobot
from tests.dataset_tools.layouts import read_index


def test_several_cameras_become_features_of_one_episode(tmp_path, episodes_folder):
    folder = episodes_folder("hdf5", count=2)
    output = tmp_path / "set"
    cameras = ["--camera", "head_camera", "left_camera"]
    assert main(["--episodes", str(folder), "--output", str(output), *cameras]) == 0
    for camera in ("head_camera", "left_camera"):
        episodes = find_episodes(output, camera=camera)
        assert [episode.number for episode in episodes] == [0, 1]
        assert read_index(episodes[1].read_frame(9)) == 9
    assert episodes[0].instructions == ("beat the block with the hammer",)


def test_an_unknown_rate_is_asked_for(tmp_path, episodes_folder, capsys):
    arguments = ["--episodes", str(episodes_folder("pkl", count=1)), "--output", str(tmp_path / "set")]
    assert main(arguments) == 2
    assert "give --fps" in capsys.readouterr().err
    assert main([*arguments, "--fps", "0"]) == 2
    assert "more than 0" in capsys.readouterr().err
    assert main([*arguments, "--fps", "5", "--robot", "aloha"]) == 0
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["robot_type"] == "aloha"


def test_a_known_rate_is_not_overridden_and_two_are_refused(episode):
    known, unknown = episode("hdf5", number=0), replace(episode("hdf5", number=1), save_freq=None)
    assert [recording.main.number for recording in group_views([known, unknown], SentenceRule())] == [0, 1]
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
        write_lerobot(group_views(episodes[:1], SentenceRule()), tmp_path / name, rate=common_rate(episodes))
        features = json.loads((tmp_path / name / "meta/info.json").read_text())["features"]
        assert features["observation.state"]["names"] == [f"state_{column}" for column in range(7)]
        assert ("observation.joints" in features) == (joints is not None)
        (before, *_), (after,) = episodes, find_episodes(tmp_path / name)
        assert after.joints.state_names == before.joints.state_names
        if joints:
            assert features["observation.joints"] == {
                "dtype": "float32", "shape": [joints], "names": [f"joint_{column}" for column in range(joints)]
            }  # fmt: skip
            assert np.allclose(after.joints.angles, before.joints.angles, atol=1e-6)
