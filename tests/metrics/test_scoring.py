import math

from metrics.baselines import CopyInput
from metrics.pairs import group_by_task, read_pairs
from metrics.predictions import match_predictions
from metrics.scoring import Scorer
from tests.metrics.conftest import moving_square


def test_each_candidate_is_scored_on_the_pairs_that_it_predicts(pair_folder, predict):
    folder = pair_folder()
    pairs = read_pairs(folder)
    output = predict(folder, lambda pair: moving_square(pair.episode % 3 + 7) if pair.episode else None)
    model = match_predictions(output, pairs)
    scores = [
        s
        for of_pair in Scorer(folder, (CopyInput(), model), group_by_task, ("psnr",)).score_pairs(pairs)
        for s in of_pair
    ]
    assert sum(score.row == "copy the input" for score in scores) == 6
    perfect = [score for score in scores if score.row == "model"]
    assert [score.episode[1] for score in perfect] == [1, 2, 1, 2]
    assert all(score.values["psnr"] == math.inf for score in perfect)
