import math

import numpy as np

from metrics.comparison.baselines import CopyInput
from metrics.comparison.pairs import group_by_task, read_pairs
from metrics.comparison.predictions import match_predictions
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
