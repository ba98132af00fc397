"""Laws of annotated clips, made and real."""

import json

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.readers.clips import find_episodes
from tests.dataset_tools.layouts import make_states


def change(annotation, **values) -> None:
    annotation.write_text(json.dumps(json.loads(annotation.read_text()) | values))


def test_sentence_states_and_rate_are_read(episode_file):
    """The last frame has no action, so the last action is said twice."""
    (episode,) = find_episodes(episode_file("clip", number=8).parents[1])
    assert (episode.number, episode.instructions, episode.frames_per_second) == (8, ("move the square",), 10.0)
    assert np.array_equal(episode.joints.states, make_states(12))
    assert np.array_equal(episode.joints.actions, np.concatenate([make_states(12)[:-1], make_states(12)[-2:-1]]))


def test_a_sentence_that_is_no_list_is_one_sentence(episode_file):
    """Read as a list, "hello" would be the instructions h, e, l, l, o."""
    annotation = episode_file("clip")
    change(annotation, texts="hello")
    assert find_episodes(annotation.parents[1])[0].instructions == ("hello",)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"state": [[float("nan")] * 7] * 12}, "states of .* are broken"),
        ({"state": [[1.0], [1.0, 2.0]]}, "2 rows of 1, 2"),
        ({"action": [[1.0]] * 3}, "actions of .* wanted 12 rows"),
        ({"videos": []}, "videos"),
        ({"videos": ["rgb.mp4"]}, r"Expected `object`, got `str` - at `\$.videos"),
        ({"videos": [{"video_path": "videos/9.mp4"}]}, "is absent"),
        ({"videos": [{"video_path": "../../secret.mp4"}]}, "no path inside"),
        ({"videos": [{"video_path": "/etc/passwd"}]}, "no path inside"),
        ({"texts": [3]}, "Expected `str`, got `int`"),
        ({"video_length": 400}, "has 12 frames, .* says 400"),
    ],
)
def test_broken_annotations_are_named(episode_file, values, says):
    annotation = episode_file("clip")
    change(annotation, **values)
    with pytest.raises(UserError, match=says):
        _ = find_episodes(annotation.parents[1])[0].joints


def test_videos_that_the_annotation_forgets_are_cameras_too(episode_file):
    annotation = episode_file("clip")
    (video,) = annotation.parents[1].rglob("*.mp4")
    video.with_name("wrist.mp4").write_bytes(video.read_bytes())
    (episode,) = find_episodes(annotation.parents[1])
    assert (episode.cameras, episode.camera) == (("rgb", "wrist"), "rgb")


@pytest.mark.real_data
def test_the_real_robots_clips_are_read(real_clips):
    """13 clips of four kinds of robot, each with a sentence and states."""
    episodes = find_episodes(real_clips)
    assert [episode.task for episode in episodes] == ["bridge"] * 2 + ["droid"] * 7 + ["rt1"] * 2 + ["xhand"] * 2
    for episode in episodes:
        assert episode.instructions and len(episode.joints.states) == episode.length
        assert episode.joints.state_names[0] == "state_0"
        assert (episode.joints.angles is not None) == (episode.task == "droid")
        assert episode.read_frame(episode.length - 1).shape == episode.read_frame(0).shape
