"""Laws of the policies' networks: keypoints tell places, cameras share encoders, chunks have their shape."""

import pytest
import torch

from ldm.modules.policy.networks import POSE, KeypointEncoder, StateNetwork, VisionNetwork


def test_a_sharp_keypoint_is_the_place_of_its_maximum():
    """The expectation over the picture moves with what it looks at; an average over the picture could not."""
    encoder = KeypointEncoder(channels=8, keypoints=1, blocks=0, values=1)
    with torch.no_grad():
        encoder.stem = torch.nn.AvgPool2d(4)
        encoder.logits = torch.nn.Conv2d(3, 1, 1, bias=False)
        encoder.logits.weight.fill_(100.0)
        encoder.values = torch.nn.Conv2d(3, 1, 1)
    frame = torch.full((2, 3, 32, 32), 0.0)
    frame[0, :, 4:8, 28:32] = 1.0  # row 1 of 8, column 7 of 8
    frame[1, :, 28:32, 0:4] = 1.0
    places = encoder(frame)[:, :2]
    torch.testing.assert_close(places, torch.tensor([[1.0, -1 + 2 / 7], [-1.0, 1.0]]), atol=1e-3, rtol=0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    encoder = {"channels": 8, "keypoints": 4, "blocks": 1, "values": 2}
    cameras = {"head": "head", "left": "wrist", "right": "wrist"}
    return VisionNetwork({"head": encoder, "wrist": encoder}, cameras, 6, 5, 3, 4, 2, hidden=16, layers=2)


def make_inputs(batch: int = 2):
    frames = {name: torch.randn(batch, 3, 16, 16) for name in ("head", "left", "right")}
    return frames, torch.randn(batch, 6), torch.randn(batch, 5), None


def test_the_eyes_learn_from_the_objects_and_the_action_layers_from_the_actions(network):
    plan = network(*make_inputs())
    assert plan.actions.shape == (2, 4, 3) and plan.objects.shape == (2, 2, POSE)
    plan.actions.sum().backward()
    assert all(p.grad is not None for p in network.act.parameters())
    assert all(p.grad is None for part in (network.encoders, network.locate) for p in part.parameters())
    plan.objects.sum().backward()
    assert all(p.grad is not None for part in (network.encoders, network.locate) for p in part.parameters())


def test_wrists_share_an_encoder_and_are_told_apart(network):
    assert set(network.encoders) == {"head", "wrist"}
    frames, *rest = make_inputs()
    swapped = frames | {"left": frames["right"], "right": frames["left"]}
    assert not torch.allclose(network(frames, *rest).actions, network(swapped, *rest).actions)


def test_a_network_that_is_told_looks_at_no_picture():
    network = StateNetwork(6, 5, 3, 4, 2, hidden=16, layers=1)
    plan = network({}, torch.randn(2, 6), torch.randn(2, 5), torch.randn(2, 2, POSE))
    assert plan.actions.shape == (2, 4, 3) and plan.objects is None and not network.cameras
