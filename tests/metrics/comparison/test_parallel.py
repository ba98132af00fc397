import math
import multiprocessing
from dataclasses import dataclass, replace

import pytest

from formats.cache import default_cache_folder
from metrics.comparison import parallel
from metrics.comparison.baselines import CopyInput, NearestTarget, TrainingSet
from metrics.comparison.pairs import group_by_task, read_pairs
from metrics.comparison.parallel import CACHE_NAME, ScoreCache, identify_results, score_all
from metrics.comparison.predictions import match_predictions
from metrics.comparison.scoring import Scorer
from tests.metrics.conftest import noisy_picture


@dataclass(frozen=True)
class Machine:
    """Measures the process that measures."""

    keys = ("threads", "is_spawned")
    version = "1"

    def measure(self, *_):
        import torch

        return {"threads": torch.get_num_threads(), "is_spawned": multiprocessing.get_start_method() == "spawn"}


def _scorer(folder, predict, keys=("psnr", "ssim")):
    pairs = read_pairs(folder)
    model = match_predictions(predict(folder, lambda pair: noisy_picture(pair.episode)), pairs)
    nearest = NearestTarget(TrainingSet(folder, tuple(pairs)))
    return pairs, Scorer(folder, (CopyInput(), nearest, model), group_by_task, keys)


def _by_name(scores):
    return {(score.pair_id, score.row): score for of_pair in scores for score in of_pair}


def test_processes_and_cache_change_nothing(pair_folder, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "FEW_PAIRS", 2)
    pairs, scorer = _scorer(pair_folder(), predict)
    alone = [scorer.score_pair(pair) for pair in pairs]
    with ScoreCache(tmp_path / "c") as cache:
        shared = list(score_all(scorer, pairs, cache, workers=2))
        kept = list(score_all(scorer, pairs, cache, workers=2))
    assert shared == alone
    assert _by_name(kept) == _by_name(alone)


def test_only_what_changed_is_measured_again(pair_folder, predict, tmp_path, monkeypatch):
    pairs, scorer = _scorer(pair_folder(), predict)
    measured, original = [], Scorer.score_pair

    def score_pair(self, pair, names):
        measured.append((pair.pair_id, names))
        return original(self, pair, names)

    monkeypatch.setattr(Scorer, "score_pair", score_pair)
    with ScoreCache(tmp_path / "c") as cache:
        for of_now in (len(pairs), 0):
            list(score_all(scorer, pairs, cache, workers=1))
            assert len(measured) == of_now
            measured.clear()
        changed = scorer.candidates[2].files[pairs[3].pair_id]
        changed.write_bytes(changed.read_bytes() + b"x")
        list(score_all(scorer, pairs, cache, workers=1))
        assert measured == [(pairs[3].pair_id, ("model",))]
        list(score_all(Scorer(scorer.folder, scorer.candidates, group_by_task, ("psnr",), size=12), pairs, cache, 1))
        assert len(measured) == 1 + len(pairs)


def test_a_bad_picture_in_a_worker_is_still_one_sentence(pair_folder, predict, monkeypatch):
    monkeypatch.setattr(parallel, "FEW_PAIRS", 2)
    pairs, scorer = _scorer(pair_folder(), predict)
    path = scorer.candidates[2].files[pairs[1].pair_id]
    path.write_bytes(path.read_bytes()[:200])
    with ScoreCache(None) as cache, pytest.raises(ValueError, match="truncated"):
        list(score_all(scorer, pairs, cache, workers=2))


def test_networks_run_in_fresh_processes_of_one_thread(pair_folder, monkeypatch):
    """A fork of a process that used torch's threads may wait for ever."""
    monkeypatch.setattr(parallel, "FEW_PAIRS", 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    folder = pair_folder(num_episodes=1)
    scorer = Scorer(folder, (CopyInput(),), group_by_task, (), (Machine(),))
    with ScoreCache(None) as cache:
        scores = _by_name(score_all(scorer, read_pairs(folder), cache, workers=2))
    assert [score.values for score in scores.values()] == [{"threads": 1, "is_spawned": True}] * 2


def test_the_same_pictures_of_another_task_are_another_result(pair_folder):
    """The colours of the blocks that are looked for depend on the task."""
    folder = pair_folder(num_episodes=1)
    scorer, pair = Scorer(folder, (CopyInput(),), group_by_task, ("psnr",)), read_pairs(folder)[0]
    again, other = (identify_results(scorer, replace(pair, task=task)) for task in (pair.task, "other"))
    assert identify_results(scorer, pair) == again != other


def test_values_survive_the_process_including_inf_and_nan(tmp_path):
    values = {"psnr": math.inf, "ssim": 0.5, "psnr_motion": math.nan}
    with ScoreCache(tmp_path) as cache:
        cache.write("a", values)
    with ScoreCache(tmp_path) as cache:
        cache.write("a", {"ssim": 0.25})
        again = cache.read("a")
        assert cache.read("b") == {}
    assert again["psnr"] == math.inf and again["ssim"] == 0.25 and math.isnan(again["psnr_motion"])


def test_a_damaged_forbidden_or_absent_cache_never_stops_a_measurement(tmp_path, caplog):
    (tmp_path / CACHE_NAME).write_bytes(b"no database" * 100)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "file", None):
        with ScoreCache(folder) as cache:
            cache.write("a", {"psnr": 1.0})
            assert cache.read("a") == {}
    assert "results are not kept" in caplog.text and default_cache_folder().is_relative_to(tmp_path)
