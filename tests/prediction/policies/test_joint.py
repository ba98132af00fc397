"""Laws of a model of video and action at work: it is asked what it trained on, and imagines when asked to."""

import numpy as np
import pytest

from commands.errors import UserError
from ldm.models.joint.prediction import predict
from prediction.policies.joint import JointRunPolicy
from tests.ldm.models.joint.conftest import CAMERAS, make_joint  # noqa: F401 - a fixture


def see(seconds: float, grey: int = 90) -> dict:
    pixels = {camera: np.full((48, 64, 3), grey, np.uint8) for camera in CAMERAS}
    numbers = {"command": np.full(14, seconds), "agent_pos": np.zeros(14)}
    return {"pixels": pixels, "instruction": "stack blocks", "seconds": seconds} | numbers


def test_it_acts_without_and_imagines_with_its_video(make_joint):  # noqa: F811
    model = make_joint()
    plain, imagining = (JointRunPolicy(model, "x", mode) for mode in ("policy", "joint"))
    for policy in (plain, imagining):
        policy.reset("stack blocks", "stack", 7)
        assert policy.act(see(0.0)).shape == (2, 14) and policy.cameras == ("head", "left", "right")
    assert not plain.imagined and plain.settings()["mode"] == "policy"
    assert {name: frame.shape for name, frame in imagining.imagined.items()} == {
        camera: (side, side, 3) for camera, side in CAMERAS.items()
    }


def test_earlier_frames_are_those_of_earlier_calls(make_joint):  # noqa: F811
    model = make_joint(video={"scale_factor": 1.0, "training_steps": 1, "history": [1.0]})
    policy = JointRunPolicy(model, "x")
    for seconds in (0.0, 0.96, 1.92):
        policy.act(see(seconds, grey=round(100 * seconds)))
        batch = policy._batch(see(seconds), seconds)  # noqa: SLF001
    np.testing.assert_allclose(batch["history"], [[-0.96, 0.0]], atol=1e-6)
    np.testing.assert_allclose(batch["frames"]["head"][0, :, 0, 0, 0], [96 / 127.5 - 1, 192 / 127.5 - 1], atol=1e-6)
    np.testing.assert_allclose(batch["past_commands"][0, 0], 0.96, atol=1e-6)
    assert np.array_equal(predict(model, batch, "policy", [0]).actions[0, :2].numpy(), policy.act(see(1.92, 192)))


def test_a_model_of_video_alone_is_no_policy(make_joint):  # noqa: F811
    video = make_joint({"action": None}, action=None, levels={"shares": {"video": 1.0}})
    with pytest.raises(UserError, match="has no actions, it is of stage 1 or 2"):
        JointRunPolicy(video, "x")
