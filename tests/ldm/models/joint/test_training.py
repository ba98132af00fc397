"""Laws of training video and action: rates of their own, low-rank additions that a checkpoint does not show."""

import pytest
import torch

from commands.errors import UserError
from ldm.models.joint.loss import measure_loss
from ldm.models.joint.training import TrainedJointVideoAction
from tests.ldm.models.joint.conftest import make_joint, make_joint_batch  # noqa: F401 - fixtures

LORA = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "lora", "rank": 2}}


@pytest.fixture
def make_trained(make_joint, monkeypatch):  # noqa: F811
    """Makes the tiny model as it trains."""
    monkeypatch.setattr("tests.ldm.models.joint.conftest.JointVideoAction", TrainedJointVideoAction)
    return make_joint


def test_the_longest_beginning_of_a_name_decides_on_its_rate(make_trained):
    model = make_trained(rates={"network.layers": 0.1, "network.layers.1": 0.5})
    rates = {id(p): group["lr"] for group in model.parameter_groups() for p in group["params"]}
    layers = model.network.layers
    found = [
        rates[id(weight)] for weight in (layers[0].ff[0].weight, layers[1].ff[0].weight, model.network.head.out.weight)
    ]
    assert found == pytest.approx([1e-4, 5e-4, 1e-3]) and len(rates) == len(model.trained_parameters())


def test_low_rank_additions_train_alone_and_a_checkpoint_is_a_plain_model(make_trained, make_joint_batch):  # noqa: F811
    model, batch = make_trained(trainable_config=LORA), make_joint_batch()
    plain = set(model.state_dict())
    model.configure_model()
    model.configure_model()
    names = {name for name, p in model.model.named_parameters() if p.requires_grad}
    assert names and all("lora_" in name and ".attn1." in name for name in names)
    measure_loss(model, batch).loss.backward()
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == plain and any("lora_up" in name for name in checkpoint["adapters"])
    model.on_load_checkpoint(checkpoint)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in checkpoint["state_dict"].items())


def test_parts_of_the_picture_network_are_refused(make_trained):
    with pytest.raises(UserError, match="parts 'all' is of the U-Net; wanted lora"):
        make_trained(trainable_config=LORA | {"params": {"parts": "all"}})
