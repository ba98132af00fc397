import numpy as np
import pytest

from metrics.comparison.baselines import CopyInput, NearestTarget, make_train_mean
from metrics.comparison.pairs import read_pairs
from metrics.comparison.resizing import read_pixels
from tests.metrics.conftest import moving_square


def test_copy_predicts_the_current_frame():
    frame = moving_square(2)
    assert CopyInput().predict_picture(None, frame).pixels is frame


def test_mean_is_the_rounded_average_of_the_groups_targets(pair_folder):
    folder = pair_folder(num_episodes=2)
    pairs = read_pairs(folder)
    targets = [moving_square(7).astype(int), moving_square(8).astype(int)]
    mean = make_train_mean(folder, pairs, None).predict_picture(pairs[0], moving_square(0)).pixels
    assert (mean == np.rint(sum(targets) / 2)).all()


def test_nearest_finds_the_training_pair_with_the_same_input(pair_folder):
    folder = pair_folder(num_episodes=3)
    pairs = read_pairs(folder)
    nearest = NearestTarget(folder, tuple(pairs), None)
    for pair in pairs:
        source = read_pixels(pair.source_path(folder))
        assert nearest.nearest_pair(pair, source) == pair
        assert (nearest.predict_picture(pair, source).pixels == read_pixels(pair.target_path(folder))).all()


def test_untrained_group_is_not_predicted(pair_folder):
    folder = pair_folder()
    pairs = read_pairs(folder)
    of_one_task = [pair for pair in pairs if pair.task == "block_handover"]
    for baseline in (make_train_mean(folder, of_one_task, None), NearestTarget(folder, tuple(of_one_task), None)):
        assert baseline.predict_picture(pairs[0], moving_square(0)) is None


def test_mean_of_another_size_is_refused_with_the_mend(pair_folder):
    folder = pair_folder()
    pairs = read_pairs(folder)
    with pytest.raises(ValueError, match="8x8, the frames 16x16: make them again"):
        make_train_mean(folder, pairs, 8).predict_picture(pairs[0], moving_square(0))


def test_identity_follows_the_training_set(pair_folder):
    """A cached score must not outlive the data that its baseline learned from."""
    folder = pair_folder()
    pairs = read_pairs(folder)
    of_all, of_some = (make_train_mean(folder, part, None).identity(pairs[0]) for part in (pairs, pairs[:2]))
    assert of_all == make_train_mean(folder, pairs, None).identity(pairs[0]) != of_some
