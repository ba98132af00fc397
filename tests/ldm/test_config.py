"""Laws of composing configs."""

from pathlib import Path

import pytest
import yaml

from ldm.config import compose, merge, parse_override, save_config
from ldm.util import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAIN = CONFIGS / "train.yaml"


def test_later_files_and_overrides_win(tmp_path):
    overlay = tmp_path / "b.yaml"
    overlay.write_text("seed: 7\nlightning:\n  trainer:\n    max_epochs: 3\n")
    config = compose([TRAIN, overlay], ["data.params.batch_size=5", "lightning.trainer.max_epochs=4"])
    assert config["seed"] == 7
    assert config["data"]["params"]["batch_size"] == 5
    assert config["lightning"]["trainer"]["max_epochs"] == 4


def test_one_number_stands_in_one_place():
    """Interpolation: the resolution at the top is the data set's."""
    config = compose([TRAIN], ["resolution=128"])
    assert config["data"]["params"]["train"]["params"]["resolution"] == 128


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


def test_override_values_are_yaml():
    assert parse_override("a.b=[1, 2]") == {"a": {"b": [1, 2]}}
    assert parse_override("a=null") == {"a": None}
    assert parse_override("a=1e-3")["a"] in (1e-3, "1e-3")


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
    with pytest.raises(ConfigError, match=message):
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
    with pytest.raises(ConfigError, match=message):
        compose([path])


def test_a_missing_file_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'train.yaml'"):
        compose([CONFIGS / "trian.yaml"])


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_each_config_has_a_header(path):
    """What it reproduces, command, hardware, time, expected number."""
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("reproduces", "command", "hardware", "time", "expected"):
        assert any(word in line for line in header), f"{path.name} does not say {word}"
    assert isinstance(yaml.safe_load(path.read_text()), dict)
