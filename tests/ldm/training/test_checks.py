"""Laws of what is asked before a run begins."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands.errors import UserError
from formats.prepared_folder import FramePair
from ldm.training.checks import (
    check_resolutions,
    check_whole,
    data_doubts,
    how_to_prepare,
    resolution_doubts,
    true_horizon,
    true_template,
)
from ldm.training.config import merge_files

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
DIFFUSION, FIRST_STAGE = SimpleNamespace(size_multiple=64), SimpleNamespace(size_multiple=8)


def params(side, resolutions=()):
    return {"train": {"params": {"resolution": side}}, "validation": None, "resolutions": resolutions}


@pytest.mark.parametrize(("side", "nearest"), [(200, 192), (250, 256), (16, 64)])
def test_a_resolution_that_is_not_divisible_names_the_nearest(side, nearest):
    check_resolutions(DIFFUSION, params(256))
    check_resolutions(FIRST_STAGE, params(200))  # halves less
    with pytest.raises(UserError, match=f"wanted a multiple of 64, .* the nearest is resolution={nearest}"):
        check_resolutions(DIFFUSION, params(side))
    with pytest.raises(UserError, match="resolution 72"):
        check_resolutions(DIFFUSION, params(128, [[0, 72], [10, 128]]))


def pair(task="stack", source=0, target=20):
    return FramePair("x", "0", "0", "go", task=task, source_index=source, target_index=target)


def doubts(train, validation=(), horizon=20):
    return data_doubts(
        {"resolution": None, "horizon": horizon, "data": {"params": {}}}, {"train": train, "validation": validation}
    )


def test_another_horizon_than_the_datas_is_said_and_stored():
    """The run's saved config says what the pairs are, so that predictions and tables count in it."""
    assert doubts([pair()]) == [] and true_horizon({}, [pair()]) == {"horizon": 20, "horizon_range": None}
    (doubt,) = doubts([pair()], horizon=50)
    assert "horizon is 50, but all training pairs are 20 frames apart" in doubt and "set horizon=20" in doubt
    (doubt,) = doubts([pair()], horizon=None)
    assert "stored with horizon 20" in doubt


def test_pairs_of_many_horizons_have_none_but_a_range():
    """As first_last draws them."""
    drawn = [pair(target=target) for target in (120, 205, 330, 415)]
    for horizon in (50, None):
        (doubt,) = doubts(drawn, horizon=horizon)
        assert "120 to 415 frames apart (median 330)" in doubt and "horizon_range [120, 415]" in doubt
    assert true_horizon({}, drawn) == {"horizon": None, "horizon_range": [120, 415]}


def test_nothing_is_said_of_pairs_that_do_not_know_their_frames():
    unknown = [pair(source=None, target=None)]
    assert doubts(unknown) == [] and true_horizon({}, unknown) == {}


def test_the_form_of_the_sentences_is_the_datas(tmp_path):
    """It travels with the model, so that edit_cli sends what the model was trained on."""
    config = {"resolution": None, "horizon": None, "data": {"params": {"train": {"params": {"folder": str(tmp_path)}}}}}
    assert true_template(config) == {}, "a folder that does not tell"
    for template, stored in (("After '{instruction}'.", "After '{instruction}'."), ("{instruction}", None)):
        (tmp_path / "dataset.json").write_text(json.dumps({"options": {"sentences": {"template": template}}}))
        assert true_template(config) == {"instruction_template": stored}
    (doubt,) = data_doubts(config | {"instruction_template": "Soon: {instruction}"}, {})
    assert "have the form {instruction}, the config says Soon: {instruction}" in doubt


def test_a_validation_split_without_a_task_is_said():
    train = [pair("stack"), pair("hammer"), pair("hammer")]
    (doubt,) = doubts(train, [pair("stack")])
    assert "no pairs of the task 'hammer', which has 2 training pairs" in doubt
    assert doubts([pair(None)], [pair("stack")]) == []


def test_missing_data_come_with_the_recipes_own_command():
    config = {"prepare": "--horizon 7", "data": {"params": {"train": {"params": {"folder": "data/x"}}}}}
    said = how_to_prepare(UserError("no folder data/x.\nMake it with: something general"), config)
    assert said.endswith("dataset_tools.prepare_dataset --episodes <folder> --output data/x --horizon 7")
    assert how_to_prepare(UserError("no folder elsewhere.\nMake it"), config) == "no folder elsewhere.\nMake it"


@pytest.mark.parametrize("name", ["demo", "regression", "cpu_tiny", "tiny/many_steps"])
def test_an_overlay_alone_is_refused(name):
    path = CONFIGS / f"{name}.yaml"
    with pytest.raises(UserError, match=f"model.target.* overlay, .* --base configs/train.yaml {path}"):
        check_whole(merge_files([path]), [path])
    whole = [CONFIGS / "train.yaml", path]
    check_whole(merge_files(whole), whole)


def test_a_resolution_that_the_pairs_do_not_follow_is_said():
    """As over a config whose interpolations were resolved when it was saved."""
    assert resolution_doubts({"resolution": 128, "data": {"params": params(128)}}) == []
    assert resolution_doubts({"resolution": 128, "data": {"params": {"train": {"params": {"folder": "cache"}}}}}) == []
    (said,) = resolution_doubts({"resolution": 64, "data": {"params": params(128)}})
    assert "data.params.train.params.resolution=64 too" in said
