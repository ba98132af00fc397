"""Laws of windows with time: true seconds of drawn frames, one augmentation a camera, what lacks is not valid."""

import numpy as np
import pytest
import torch

from commands.errors import UserError
from formats.prepared_episodes import Motion, PreparedEpisode, finish_folder, measure_statistics, write_episode
from ldm.data.joint_windows import JointWindows

D, LENGTH, RATE = 4, 13, 10.0


@pytest.fixture
def episodes(tmp_path):
    """Two episodes of 13 frames at 10 Hz, of grey value 10 t; every third frame was drawn; the second has no wrist."""

    def make(actions: bool = True, rate: float | None = RATE):
        listed, motions = [], []
        for number in range(2):
            cameras = ("head", "wrist")[: 2 - number]
            episode = PreparedEpisode(
                f"push/{number}", "push", number, "train", LENGTH, cameras, ("push",), (), rate, draw_every=3
            )
            states = np.arange(LENGTH, dtype=np.float32)[:, None].repeat(D, 1)
            motion = Motion(states, np.concatenate([states[1:], states[-1:]]) if actions else None)
            frames = {c: [np.full((8, 8, 3), 10 * t, np.uint8) for t in range(0, LENGTH, 3)] for c in cameras}
            write_episode(tmp_path / episode.episode_id, episode, frames, motion)
            listed.append(episode)
            motions.append(motion)
        finish_folder(tmp_path, listed, measure_statistics(motions, 3, relative=True) if actions else None, {})
        return tmp_path

    return make


def open_windows(folder, **changes) -> JointWindows:
    options = {"cameras": {"head": 8}, "chunk": 3, "objects": 1, "state_size": D, "future": [0.5]} | changes
    return JointWindows(folder, "train", **options)


def grey(frames: torch.Tensor) -> list[int]:
    return [round((float(frame[0, 0, 0]) + 1) * 127.5) for frame in frames]


def test_frames_to_come_are_drawn_ones_with_their_true_seconds(episodes):
    windows = open_windows(episodes(), future=[0.5, 0.9], history=[0.4])
    sample = windows[1]  # frame 3
    assert sample["pair_id"] == "push/0/3" and len(windows) == 2 * 4
    assert grey(sample["future"]["head"]) == [90, 120] and grey(sample["frames"]["head"]) == [0, 30]
    torch.testing.assert_close(sample["seconds"], torch.tensor([0.6, 0.9]))
    torch.testing.assert_close(sample["history"], torch.tensor([-0.3, 0.0]))
    assert sample["past_commands"][0, 0] == 0 and sample["command"][0] == 3
    assert sample["actions"][:, 0].tolist() == [4, 5, 6] and sample["action_valid"].all()


def test_past_the_end_is_not_valid_and_before_the_start_stands_the_first_frame(episodes):
    windows = open_windows(episodes(), history=[0.3])
    assert windows[3]["future_valid"]["head"].tolist() == [False] and grey(windows[3]["future"]["head"]) == [120]
    assert windows[0]["history"].tolist() == [0, 0] and windows[0]["future_valid"]["head"].all()


def test_a_range_of_seconds_is_drawn_by_the_seed(episodes):
    windows = open_windows(episodes(), future=[[0.3, 1.2]])
    found = {round(float(windows[0, seed]["seconds"]), 4) for seed in range(20)}
    assert found == {0.3, 0.6, 0.9, 1.2}
    assert torch.equal(windows[0, 5]["seconds"], windows[0, 5]["seconds"])


def test_all_frames_of_a_camera_are_augmented_alike(episodes):
    sample = open_windows(episodes(), brightness=0.5, future=[0.3, 0.6])[1, 4]
    levels = torch.stack([(frame[0, 0, 0] + 1) / 2 for frame in (*sample["frames"]["head"], *sample["future"]["head"])])
    torch.testing.assert_close(levels / levels[0], torch.tensor([1.0, 2.0, 3.0]))


def test_a_camera_that_an_episode_lacks_is_not_valid(episodes):
    windows = open_windows(episodes(), cameras={"head": 8, "wrist": 8}, some_lack_cameras=True)
    batch = windows.collate([windows[0], windows[4]])
    assert batch["view_valid"]["wrist"].tolist() == [True, False]
    assert batch["future_valid"]["wrist"].tolist() == [[True], [False]] and not batch["frames"]["wrist"][1].any()


def test_episodes_may_have_no_actions_or_keep_them_to_themselves(episodes):
    free = open_windows(episodes(), labelled=1)
    assert free[0]["action_valid"].all() and not free[4]["action_valid"].any() and free[4]["state_valid"]
    other = open_windows(episodes(), action_free=True, state_size=2)
    assert other[0]["actions"].shape == (3, 2) and not other[0]["state_valid"]
    none = open_windows(episodes(actions=False), action_free=True)
    assert not none[0]["action_valid"].any() and none[0]["command"].shape == (D,)


@pytest.mark.parametrize(
    ("made", "asked", "says"),
    [
        ({"actions": False}, {}, "no actions|no training episode"),
        ({}, {"state_size": 7}, "actions of 4 numbers, the config's state_size is 7"),
        ({}, {"cameras": {"head": 8, "wrist": 8}}, "have a camera 'wrist'"),
        ({}, {"cameras": {"wrist": 8}, "some_lack_cameras": True}, "none of the cameras wrist"),
        ({"rate": None}, {}, "has no rate"),
        ({}, {"future": [-1.0]}, "future: .*seconds above 0"),
        ({}, {"history": [0.3, 0.6]}, "the earliest first"),
        ({}, {"labelled": 0, "more": 3}, r"more: 3 windows .* \(labelled: 0\)"),
        ({}, {"max_episodes": 0}, "max_episodes: 0; wanted at least 1"),
        ({}, {"every": 0}, "every: 0; wanted at least 1"),
        ({}, {"cameras": {"head": 16}}, "8 pixels a side, the config wants 16"),
    ],
)
def test_data_that_do_not_fit_are_one_sentence(episodes, made, asked, says):
    with pytest.raises(UserError, match=says):
        open_windows(episodes(**made), **asked)[0]
