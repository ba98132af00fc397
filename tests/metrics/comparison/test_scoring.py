"""Laws of candidates and their scores: baselines, the size of comparison, the pairs that are scored."""

import math

import numpy as np
import pytest
from PIL import Image

from metrics.comparison.baselines import CopyInput, NearestTarget, TrainingSet, make_train_mean
from metrics.comparison.pairs import group_by_task, read_pairs
from metrics.comparison.predictions import match_predictions
from metrics.comparison.resizing import describe_resizing, read_pixels, resize_picture
from metrics.comparison.scoring import Scorer
from tests.metrics.conftest import moving_square


def test_each_candidate_is_scored_on_the_pairs_that_it_predicts(pair_folder, predict):
    folder = pair_folder()
    pairs = read_pairs(folder)
    output = predict(folder, lambda pair: moving_square(pair.episode % 3 + 7) if pair.episode else None)
    model = match_predictions(output, pairs)
    scorer = Scorer(folder, (CopyInput(), model), group_by_task, ("psnr",))
    scores = [score for pair in pairs for score in scorer.score_pair(pair)]
    assert sum(score.row == "copy the input" for score in scores) == 6
    perfect = [score for score in scores if score.row == "model"]
    assert [score.episode[1] for score in perfect] == [1, 2, 1, 2]
    assert all(score.values["psnr"] == math.inf for score in perfect)


def test_wrap_around_is_found_at_the_predictions_own_size(pair_folder, predict):
    """Whether or not the comparison shrinks the specks away."""
    folder = pair_folder(num_episodes=1)
    pairs = read_pairs(folder)
    wrapped = np.full((64, 64, 3), 250, np.uint8)
    wrapped[::4, 1:-1:4] += 10
    model = match_predictions(predict(folder, lambda pair: wrapped), pairs)
    (score,) = Scorer(folder, (model,), group_by_task, ("psnr",), size=8).score_pair(pairs[0])
    assert "wrap-around" in score.remarks[0]


def test_mean_is_the_rounded_average_of_the_groups_targets(pair_folder):
    """A cached score must not outlive the data that its baseline learned from."""
    folder = pair_folder(num_episodes=2)
    pairs = read_pairs(folder)
    targets = [moving_square(7).astype(int), moving_square(8).astype(int)]
    mean = make_train_mean(TrainingSet(folder, tuple(pairs)))
    assert (mean.predict_picture(pairs[0], moving_square(0)).pixels == np.rint(sum(targets) / 2)).all()
    with pytest.raises(ValueError, match="8x8, the frames 16x16: make them again"):
        make_train_mean(TrainingSet(folder, tuple(pairs), 8)).predict_picture(pairs[0], moving_square(0))
    of_same, of_some = (make_train_mean(TrainingSet(folder, tuple(of))).identity(pairs[0]) for of in (pairs, pairs[:1]))
    assert mean.identity(pairs[0]) == of_same != of_some


def test_nearest_finds_the_training_pair_with_the_same_input(pair_folder):
    folder = pair_folder(num_episodes=3)
    pairs = read_pairs(folder)
    nearest = NearestTarget(TrainingSet(folder, tuple(pairs)))
    for pair in pairs:
        source = read_pixels(pair.source_path(folder))
        assert nearest.nearest_pair(pair, source) == pair
        assert (nearest.predict_picture(pair, source).pixels == read_pixels(pair.target_path(folder))).all()


def test_untrained_group_is_not_predicted(pair_folder):
    folder = pair_folder()
    pairs = read_pairs(folder)
    of_one_task = TrainingSet(folder, tuple(pair for pair in pairs if pair.task == "block_handover"))
    for baseline in (make_train_mean(of_one_task), NearestTarget(of_one_task)):
        assert baseline.predict_picture(pairs[0], moving_square(0)) is None


def test_shrinking_by_a_whole_factor_averages_areas(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = 200
    pixels[2, 2] = 200
    assert resize_picture(pixels, 2)[..., 0].tolist() == [[200, 0], [0, 50]]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png", 8).shape == (8, 8, 3)


def test_what_is_said_of_resizing_is_what_is_done(tmp_path):
    for side in (4, 16):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    small, large = tmp_path / "4.png", tmp_path / "16.png"
    assert describe_resizing([large], 8) == "area average"
    assert describe_resizing([small], 8) == "bicubic"
    assert describe_resizing([small, large], 16) == "not resized, bicubic"
