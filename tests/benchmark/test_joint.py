"""Laws of the speed of video and action: a row a mode, what a model has not is said, anchors are others' words."""

import json

import pytest

from benchmark import joint
from benchmark.joint import CONFIGS, STAGE, JointRequest, run
from commands.errors import UserError
from ldm.training.config import compose


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """The network of configs/tiny, which counts alike."""
    overlay = CONFIGS / "tiny" / "joint.yaml"
    isolated = ["model.params.network_config.params.visibility=isolated"]
    monkeypatch.setattr(joint, "compose", lambda _: compose([STAGE, overlay], isolated))


def test_each_mode_is_timed_and_one_that_the_network_has_not_says_why(tmp_path):
    text = run(JointRequest(rounds=2, output=tmp_path))
    rows = {row["what"]: row for row in json.loads((tmp_path / "benchmark_joint_nano_cpu.json").read_text())["rows"]}
    policy, video = rows["policy"], rows["video"]
    assert policy["value"] > 0 and policy["counted"]["seconds an action"] == pytest.approx(policy["value"] / 16)
    assert video["counted"]["steps of frames"] == 1 and policy["counted"]["steps of frames"] is None
    assert policy["counted"]["GFLOP"] < video["counted"]["GFLOP"], "policy mode computes no video"
    for mode in ("forward", "inverse"):
        assert rows[mode]["value"] is None and "mutual" in rows[mode]["note"]
    assert "## printed by others" in text and "| P2 | UVA, a policy's call | 0.23 s |" in text


def test_a_mode_that_is_none_is_refused():
    with pytest.raises(UserError, match="--modes dream: wanted joint or policy"):
        JointRequest(modes=("dream",))
