"""Laws of building from configs: what cannot be built is refused before construction, by name."""

import inspect
from pathlib import Path

import pytest
import torch

from commands.errors import UserError
from ldm.training.config import merge, read_yaml
from ldm.util import (
    CONFIGURABLE,
    MOVED,
    check_config,
    check_targets,
    describe_misfit,
    get_obj_from_str,
    instantiate_from_config,
)

SCHEDULER = "ldm.lr_scheduler.LambdaLinearScheduler"
PARAMS = {"warm_up_steps": [10], "f_min": [0.1], "f_max": [1.0], "f_start": [0.0], "cycle_lengths": [100]}


def test_arguments_from_code_count_as_given():
    params = {name: value for name, value in PARAMS.items() if name != "f_min"}
    scheduler = instantiate_from_config({"target": SCHEDULER, "params": params}, f_min=[0.0])
    assert (scheduler.schedule(0), scheduler.schedule(10)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"target": SCHEDULER, "params": PARAMS | {"f_minn": [0]}},
            r"x.params: .* no parameter 'f_minn'; did you mean 'f_min'",
        ),
        ({"target": SCHEDULER, "params": PARAMS | {False: 1}}, "x.params: False is no name; YAML reads on, off"),
        ({"target": SCHEDULER, "params": {}}, "needs 'warm_up_steps'"),
        ({"target": "ldm.lr_scheduler.LambdaLinearSchedule"}, "did you mean 'LambdaLinearScheduler'"),
        ({"target": "ldm.lr_schedule.X"}, "no module 'ldm.lr_schedule'"),
        ({"target": "X"}, "not a dotted path"),
        ({"params": {}}, "wanted a node with 'target'"),
        ({"target": SCHEDULER, "parms": {}}, "found 'parms'; did you mean 'params'"),
        ([1], "wanted a node"),
    ],
)
def test_a_bad_node_names_the_place_and_the_nearest_right_name(config, message):
    with pytest.raises(UserError, match=message):
        check_config(config, "x")


def test_nodes_below_are_checked_before_anything_is_built(tiny_model_config):
    """A misspelt parameter three levels down is named with its path."""
    unet = tiny_model_config["params"]["unet_config"]["params"]
    unet["num_head"] = unet.pop("num_heads")
    with pytest.raises(UserError) as error:
        check_config(tiny_model_config, "model")
    assert "model.params.unet_config.params: UNetModel has no parameter 'num_head'; did you mean 'num_heads'?" in str(
        error.value
    )


def test_a_class_that_takes_any_parameter_is_checked_through_its_bases(tiny_model_config):
    """LatentDiffusion hands **ddpm on; a misspelt name of DDPM's is refused all the same."""
    tiny_model_config["params"]["learning_rat"] = tiny_model_config["params"].pop("learning_rate")
    with pytest.raises(UserError, match="'learning_rat'; did you mean 'learning_rate'"):
        check_config(tiny_model_config, "model")


def test_a_misfit_names_the_first_tensor_on_both_sides():
    here, there = {"a": torch.zeros(2), "b": torch.zeros(3)}, {"b": torch.zeros(4)}
    assert describe_misfit(here, here) is None
    said = describe_misfit(here, there)
    assert said == "2 tensors differ, first a ((2,) in the file, absent in the network)"
    assert "first a (absent in the file, (2,) in the network)" in describe_misfit(there, here)


PAYLOAD = {"target": "subprocess.getoutput", "params": {"cmd": "echo harm"}}


@pytest.mark.parametrize(
    "config",
    [
        PAYLOAD,
        {"model": PAYLOAD},
        {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": {"unet_config": PAYLOAD}}},
        {"lightning": {"callbacks": {"a": {"target": SCHEDULER, "params": {"f_min": [1.0, {"deeper": [PAYLOAD]}]}}}}},
        {"sampling": {"target": "os.system"}},
        {"a": {"target": "ldm.util.importlib.import_module"}},
        {"a": {"target": "ldm.util.get_obj_from_str"}},
        {"a": {"target": "ldm.lr_scheduler.LambdaLinearScheduler "}},
        {"a": {"target": "LambdaLinearScheduler"}},
        {"a": {"target": ""}},
        {"a": {"target": ["subprocess.getoutput"]}},
        {"a": {"target": {"target": SCHEDULER}}},
        {"a": {"target": "${b}"}},
        [[{"target": None}]],
    ],
)
def test_a_config_that_comes_with_weights_names_only_our_classes_at_any_depth(config, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    with pytest.raises(UserError, match=r"^beside/config.yaml: .* --trust-config\.$"):
        check_targets(config, where="beside/config.yaml")
    check_targets(config, trusted=True)


def test_a_config_of_endless_depth_is_checked_too():
    config = dict(PAYLOAD)
    for _ in range(5000):
        config = {"params": [config]}
    with pytest.raises(UserError, match="subprocess"):
        check_targets(config)


def test_every_class_of_our_configs_may_come_with_weights_and_is_found():
    """The allow-list is complete and holds nothing that is gone."""
    for path in sorted(Path("configs").rglob("*.yaml")):
        check_targets(read_yaml(path), where=str(path))
    for module, names in CONFIGURABLE.items():
        assert all(inspect.isclass(get_obj_from_str(f"{module}.{name}")) for name in names.split())
    assert all(get_obj_from_str(old) is get_obj_from_str(new) for old, new in MOVED.items())


def test_a_class_that_moved_is_the_same_node_to_an_overlay():
    old = "ldm.models.diffusion.trainable.TrainedParts"
    base = {"target": old, "params": {"parts": "all", "rank": 2}}
    merged = merge(base, {"target": MOVED[old], "params": {"parts": "lora"}})
    assert merged == {"target": MOVED[old], "params": {"parts": "lora", "rank": 2}}
