"""The stages of video and action: each goes on from the last, is stopped and resumed to the bit, says its size."""

import re
from pathlib import Path

import pytest
import torch

import main
from formats.run_folder import RUN_VARIABLE
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from ldm.training.joint_cost import measure_step
from prediction.policies.load import load_run_policy
from tests.runs import assert_same_weights, write_noise_episodes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STAGES = ("joint_stage_1_simulator", "joint_stage_2", "joint_stage_3")
SIZES = ("nano", "small", "base")


def recipe(name: str, overlay: str) -> list[Path]:
    return [CONFIGS / "recipes" / f"{name}.yaml", CONFIGS / overlay]


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """Prepared episodes of noise, two to train and one to validate, of the recipe's cameras."""
    return write_noise_episodes(tmp_path_factory.mktemp("episodes"), ("train", "train", "val"), 80, draw_every=10)


@pytest.fixture
def train(episodes, tmp_path, monkeypatch):
    """Runs main.py on a stage's tiny form; returns the exit code and the run's folder."""

    def call(name, *argv, run=None, folder=None):
        monkeypatch.delenv(RUN_VARIABLE, raising=False)
        run_folder = tmp_path / (folder or name)
        data = [f"data.params.{split}.params.folder={episodes}" for split in ("train", "validation")]
        few = [
            "data.params.batch_size=4",
            "lightning.trainer.limit_val_batches=1",
            "lightning.trainer.val_check_interval=2",
        ]
        few += ["model.params.scheduler_config.params.cycle_lengths=[9]"]
        base = ["--base", *map(str, recipe(name, "tiny/joint.yaml")), "--folder", str(run_folder), *data, *few]
        code = main.main([*(["--resume", str(run)] if run else base), *argv])
        return code, run_folder

    return call


def test_each_stage_goes_on_from_the_last_and_a_stop_changes_nothing(train, caplog):
    caplog.set_level("INFO")
    blind = "lightning.trainer.limit_val_batches=0"
    _, first = train(STAGES[0], "--max_steps", "1", blind)
    _, second = train(STAGES[1], "--max_steps", "1", blind, f"pretrained.path={first}")
    start = f"pretrained.path={second}"
    _, whole = train(STAGES[2], "--max_steps", "3", start, folder="whole")
    assert "matched" in caplog.text and "network.exchange" in caplog.text and "network.action" in caplog.text
    _, part = train(STAGES[2], "--max_steps", "1", start, blind, folder="part")
    assert train(STAGES[2], "--max_steps", "3", run=part)[0] == 0
    assert_same_weights(whole, part)
    assert load_run_policy(whole).settings() == load_run_policy(part).settings(), "rollouts of either go on"
    assert load_run_policy(whole).settings()["chunk"] == 32 and load_run_policy(whole, "imagine").mode == "imagine"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.params.train.params.state_size=7", "actions of 14 numbers, the config's state_size is 7"),
        ("data.params.train.params.cameras={front_camera: 128}", "front_camera"),
        ("pretrained.path=nowhere", "nowhere"),
    ],
)
def test_what_does_not_fit_is_one_sentence(train, capsys, override, says):
    code, _ = train(STAGES[2], "pretrained.path=null", override)
    assert code == 2 and says in capsys.readouterr().err


RECIPES = sorted(path.stem for path in (CONFIGS / "recipes").glob("joint*.yaml"))


@pytest.mark.parametrize(
    ("name", "size"), [*((name, "nano") for name in RECIPES), *((STAGES[2], s) for s in SIZES[1:])]
)
def test_every_stage_and_every_size_builds(name, size):
    config = compose(recipe(name, f"joint/{size}.yaml"))
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    assert sum(len(group["params"]) for group in model.parameter_groups()) == len(model.trained_parameters())


def test_nano_costs_what_its_header_says():
    config = compose(recipe("joint_stage_3", "joint/nano.yaml"))
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    assert 2e6 < sum(model.describe_parts().values()) < 4e6
    assert measure_step(model, 64, config["data"]["params"]["train"]["params"]["more"]).flop / 64 < 1.25e9


def test_cameras_joined_by_channel_cost_no_more_than_adapters():
    def flop(*overlays):
        config = compose([*recipe("joint_stage_3", "joint/nano.yaml"), *overlays])
        with torch.device("meta"):
            model = build_trained_model(config["model"])
        return measure_step(model, 64, 0).flop

    assert flop(CONFIGS / "joint/by_channel.yaml") < flop()


def test_rows_of_the_ablation_change_what_is_there():
    """An override of a key that no config has is refused, by main.py after the rows before it have trained."""
    script = (CONFIGS.parent / "scripts/joint_ablations.sh").read_text()
    keys = sorted(set(re.findall(r"((?:model|data|lightning|pretrained)[\w.]*)=", script)) - {"pretrained"})
    assert len(keys) > 8
    config = compose(recipe("joint_stage_3", "joint/nano.yaml"))
    for key in keys:
        node = config
        for part in key.split("."):
            assert part in node, f"{key} is in no config"
            node = node[part]
