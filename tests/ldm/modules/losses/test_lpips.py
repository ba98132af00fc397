"""Laws of the perceptual distances."""

import pytest
import torch

from ldm.modules.losses.lpips import LPIPS, PerceptualLoss, read_heads


@pytest.fixture(scope="module", params=[LPIPS, PerceptualLoss])
def distance(request):
    made = request.param(None)
    made.load_weights()
    return made


def test_equal_pictures_have_no_distance_and_others_have(distance):
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    assert distance(a, a).abs().max() == 0
    assert (distance(a, b) > 0).all() and distance(a, b).shape == (2,)


def test_a_sample_does_not_depend_on_its_batch(distance):
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(distance(a, b)[1:2], distance(a[1:2], b[1:2]))


def test_the_gradient_goes_to_the_prediction_only(distance):
    torch.manual_seed(0)
    a, b = (torch.rand(1, 3, 16, 16, requires_grad=True) for _ in range(2))
    distance(a, b).sum().backward()
    assert a.grad.abs().sum() > 0 and b.grad is None


def test_weights_are_in_no_state_dict_and_no_parameter_list(distance):
    assert not distance.state_dict() and not list(distance.parameters())
    trunk = distance.trunk.network
    assert not any(p.requires_grad for p in trunk.parameters()) and not trunk.training


def test_heads_are_the_published_ones():
    heads = read_heads("vgg")
    assert [len(head) for head in heads] == [64, 128, 256, 512, 512] and all((head >= 0).all() for head in heads)


@pytest.mark.reference
def test_equal_to_torchmetrics(monkeypatch):
    """Same trunk weights, published heads; torchvision, which torchmetrics asks for the layers, is not needed."""
    from torchmetrics.functional.image import lpips as theirs

    ours = LPIPS(None)
    ours.load_weights()
    ours.heads = read_heads("vgg")
    features = ours.trunk.network.features
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_, **__: features)
    reference = theirs._LPIPS(net="vgg")
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    torch.testing.assert_close(ours(a, b), reference(a, b).flatten(), atol=1e-6, rtol=1e-4)
