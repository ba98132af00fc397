"""Laws of composing configs."""

from dataclasses import fields
from pathlib import Path

import pytest

from commands.errors import UserError
from ldm.training.config import compose, merge, merge_files, parse_override, parse_value, read_yaml, save_config
from ldm.training.keys import SAMPLING
from prediction.predictor import SamplingOptions

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
TRAIN = CONFIGS / "train.yaml"


def test_later_files_and_overrides_win(tmp_path):
    overlay = tmp_path / "b.yaml"
    overlay.write_text("seed: 7\nlightning:\n  trainer:\n    max_epochs: 3\n")
    config = compose([TRAIN, overlay], ["data.params.batch_size=5", "lightning.trainer.max_epochs=4"])
    assert config["seed"] == 7
    assert config["data"]["params"]["batch_size"] == 5
    assert config["lightning"]["trainer"]["max_epochs"] == 4


def test_another_target_replaces_the_node_whole():
    old = {"target": "a.A", "params": {"x": 1}}
    assert merge({"node": old}, {"node": {"target": "b.B", "params": {"y": 2}}})["node"] == {
        "target": "b.B",
        "params": {"y": 2},
    }
    assert merge({"node": old}, {"node": {"params": {"y": 2}}})["node"]["params"] == {"x": 1, "y": 2}


def test_a_saved_config_is_a_valid_base(tmp_path):
    config = compose([TRAIN, CONFIGS / "cpu_tiny.yaml"])
    save_config(config, tmp_path / "config.yaml", header="how it was made")
    assert compose([tmp_path / "config.yaml"]) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--gpu"], "neither a flag nor an override"),
        (["modle.params.x=1"], "modle: no such key in the config; did you mean 'model'"),
        (["lightning.trianer.max_epochs=1"], "lightning.trianer: .* did you mean 'trainer'"),
        (["data.params.train.param.split=val"], "did you mean 'params'"),
    ],
)
def test_bad_overrides_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        compose([TRAIN], overrides)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("true", "not valid YAML"),
        ("- 1", "wanted a mapping"),
        ("sed: 1", "sed: no such section; did you mean 'seed'"),
        ("seed: ${nothing}", "does not resolve"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        compose([path])


def test_what_a_file_replaced_whole_does_not_come_back(tmp_path):
    """A mixture over a plain data set over another mixture has its own parts alone, in its own order."""
    (tmp_path / "a.yaml").write_text("data: {target: Mixture, params: {parts: {bridge: 1}}}\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\ndata: {target: Windows, params: {folder: x}}\n")
    (tmp_path / "c.yaml").write_text("extends: b.yaml\ndata: {params: {folder: y}}\n")
    (tmp_path / "d.yaml").write_text(
        "extends: c.yaml\ndata: {target: Mixture, params: {parts: {robot: 1, bridge: 2}}}\n"
    )
    assert read_yaml(tmp_path / "c.yaml") == {"data": {"target": "Windows", "params": {"folder": "y"}}}
    assert list(read_yaml(tmp_path / "d.yaml")["data"]["params"]["parts"]) == ["robot", "bridge"]


def test_a_missing_file_names_the_nearest_and_none_extends_itself(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match="extends itself"):
        compose([tmp_path / "a.yaml"])
    with pytest.raises(UserError, match="did you mean 'train.yaml'"):
        compose([CONFIGS / "trian.yaml"])


def test_values_are_read_as_in_a_file():
    """YAML 1.1 takes 1e-4 for a word; files take it for a number, and so does the command line."""
    assert parse_override("a.b=[1, 2]") == {"a": {"b": [1, 2]}}
    values = {"1e-4": 1e-4, "": None, "[1, 2e3]": [1, 2000.0], "{a: 1e-4}": {"a": 1e-4}, "no": False, "a b": "a b"}
    assert {text: parse_value(text) for text in values} == values
    assert parse_value("${resolution}") == "${resolution}"
    for bad in ("[1", "a: b: c", "{", "'x"):
        with pytest.raises(UserError, match="is not valid YAML"):
            parse_value(bad)


def test_an_override_over_a_saved_config_reaches_what_refers_to_it(tmp_path):
    """The reason why runs save interpolations: data and prediction cannot come apart."""
    save_config(merge_files([TRAIN], ["resolution=128"]), tmp_path / "config.yaml")
    config = compose([tmp_path / "config.yaml"], ["resolution=64"])
    assert config["resolution"] == config["data"]["params"]["train"]["params"]["resolution"] == 64


def test_sampling_takes_its_fields_and_no_others(tmp_path):
    assert {field.name for field in fields(SamplingOptions)} == set(SAMPLING)
    assert compose([TRAIN], ["sampling.sampler=dpm_solver"])["sampling"]["sampler"] == "dpm_solver"
    (tmp_path / "x.yaml").write_text("sampling: {stepps: 3}")
    with pytest.raises(UserError, match="sampling.stepps: .* did you mean 'steps'"):
        compose([TRAIN, tmp_path / "x.yaml"])
