"""Laws of a picture predictor's features: frozen, asked once, with the place of each; actions look at them."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.joint.loss import measure_loss
from ldm.models.joint.prediction import predict
from ldm.modules.joint.picture_trunk import PictureTrunk
from tests.ldm.models.joint.conftest import make_joint, make_joint_batch  # noqa: F401 - fixtures

TAP = "middle_block"


def test_features_have_their_places_and_nothing_trains(tiny_model_config):
    trunk = PictureTrunk(tiny_model_config, "head", TAP).train()
    frames = torch.rand(2, 3, 8, 8) * 2 - 1
    features = trunk(frames, ["stack blocks", "stack blocks"])
    side = int(features.shape[1] ** 0.5)
    assert (
        features.shape[1] == side**2
        and not trunk.training
        and not list(filter(lambda p: p.requires_grad, trunk.parameters()))
    )
    torch.testing.assert_close(features[0, :, -2:].amin(dim=0), torch.tensor([-1.0, -1.0]))
    assert torch.equal(features, trunk(frames, ["stack blocks", "stack blocks"])), "always the same noise"
    assert not torch.allclose(features[0], features[1])


def test_a_tap_that_is_not_there_is_one_sentence(tiny_model_config):
    with pytest.raises(UserError, match="no layer 'output_blocks.77'; it has input_blocks, "):
        PictureTrunk(tiny_model_config, "head", "output_blocks.77")


def test_actions_look_at_the_features(make_joint, make_joint_batch, tiny_model_config):  # noqa: F811
    """Even where the network itself does not look at frames; another picture, another action."""
    width = PictureTrunk(tiny_model_config, "head", TAP)(torch.zeros(1, 3, 32, 32), [""]).shape[2]
    node = {"target": "ldm.modules.joint.picture_trunk.PictureTrunk",
            "params": {"model_config": tiny_model_config, "camera": "head", "tap": TAP}}  # fmt: skip
    stream = {"width": 16, "heads": 2, "head_channels": 8, "depth": 2, "adapters": 8, "features": width}
    video = {"scale_factor": 1.0, "weight": 0.0, "features": node}
    model = make_joint({"stream": stream}, video=video, levels={"shares": {"policy": 1.0}})
    batch = make_joint_batch()
    with torch.no_grad():
        model.network.action.locate[-1].weight.zero_()
    changed = batch | {"frames": batch["frames"] | {"head": -batch["frames"]["head"]}}
    one, other = (predict(model, each, "policy", range(3)).actions for each in (batch, changed))
    assert not torch.allclose(one, other)
    result = measure_loss(model, batch)
    result.loss.backward()
    assert "video" not in result.parts and all(p.grad is None for p in model.trunk.parameters())
    with pytest.raises(UserError, match="go together"):
        make_joint(video=video)
