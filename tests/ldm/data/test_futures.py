"""EpisodeFutures: the seed draws how far ahead; frame and state are of that moment; what a task lacks is not known."""

import pytest
import torch

from commands.errors import UserError
from ldm.data.frame_pairs import collate
from ldm.data.futures import EpisodeFutures
from tests.ldm.data.conftest import LENGTH, D


def open_futures(folder, split="train", **changes):
    given = {"resolution": 16, "camera": "head", "seconds": (0.06, 0.18), "objects": 2}
    return EpisodeFutures(folder, split, **given | changes)


def test_frame_seconds_and_state_are_of_one_moment(episodes):
    """Frame t is of grey value 10 t at 16.7 frames a second, and its joints rise by 0.1 a frame."""
    futures = open_futures(episodes())
    assert len(futures) == 2 * (LENGTH - 1), "the last frame has no future"
    seen = set()
    for seed in range(40):
        sample = futures[1, seed]
        grey = [round(float(sample[name][0, 0, 0] + 1) * 127.5) // 10 for name in ("source_frame", "target_frame")]
        ahead = grey[1] - grey[0]
        assert grey[0] == 1 and sample["seconds"] == pytest.approx(ahead / 16.7)
        assert sample["pair_id"] == f"push/0/1-{1 + ahead}"
        moved = (sample["state"][1] - sample["state"][0])[:D] * futures._deviation[:D]
        assert moved.tolist() == pytest.approx([0.1 * ahead] * D, abs=1e-5)
        seen.add(ahead)
    assert seen == {1, 2, 3}
    assert all(futures[1, 7][name] == futures[1, 7][name] for name in ("pair_id", "instruction"))


def test_an_object_that_a_task_has_not_is_zero_and_not_known(episodes):
    sample = open_futures(episodes(objects=1))[0]
    assert sample["state_known"].sum() == D + 9 and not sample["state"][:, D + 9 :].any()


def test_further_moments_are_states_of_the_same_episode_and_the_present_is_a_little_off(episodes):
    """Joints rise by 0.1 a frame, at 16.7 frames a second."""
    folder = episodes()
    sample = open_futures(folder, more=50)[1, 3]
    state, seconds = sample["more_state"], sample["more_seconds"]
    assert state.shape == (50, 2, len(sample["state_known"])) and seconds.shape == (50,)
    moved = (state[:, 1, 0] - state[:, 0, 0]) * open_futures(folder)._deviation[0]
    torch.testing.assert_close(moved, 1.67 * seconds, atol=1e-5, rtol=0)
    assert set((16.7 * seconds).round().int().tolist()) == {1, 2, 3}
    noisy = open_futures(folder, more=50, eye_error=0.1)[1, 3]["more_state"]
    assert torch.equal(noisy[:, 1], state[:, 1])
    assert (noisy[:, 0] - state[:, 0]).std() == pytest.approx(0.1, rel=0.2)
    assert "more_state" not in open_futures(folder)[1, 3]


def test_a_batch_has_all_that_its_samples_have(episodes):
    futures = open_futures(episodes(), more=3)
    samples = [futures[index] for index in (0, 1)]
    batch = collate(samples)
    assert batch.keys() == samples[0].keys()
    assert batch["more_state"].shape[:2] == (2, 3) and batch["more_seconds"].shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 32}, "prepared at 16 x 16"),
        ({"seconds": (0.0, 1.0)}, "above 0"),
        ({"seconds": (5.0, 6.0)}, "no episode of the train split .* is 5 seconds long"),
        ({"objects": 0}, "1 objects"),
        ({"every": 0}, "every: 0; wanted at least 1"),
    ],
)
def test_what_does_not_fit_the_episodes_is_refused(episodes, changes, said):
    with pytest.raises(UserError, match=said):
        open_futures(episodes(), **changes)
