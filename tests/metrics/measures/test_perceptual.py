import pickle

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import lpips as reference

from ldm.modules.losses.lpips import read_heads
from ldm.modules.losses.trunk import Trunk
from metrics.measures.perceptual import LEAST_SIDE, TRUNK_FILES, Lpips
from tests.metrics.conftest import noisy_picture


@pytest.fixture(scope="module")
def alex_weights(tmp_path_factory):
    """A file as torchvision writes it, with random values."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = Trunk("alex").state_dict() | {"classifier.1.weight": torch.zeros(2)}
    torch.save(state, folder / TRUNK_FILES["alex"])
    return folder


def test_identical_pictures_have_zero_and_more_noise_is_further_away_in_any_order():
    """Even with a random trunk."""
    lpips, truth = Lpips("alex"), noisy_picture(0, 48)
    noise = np.random.default_rng(3).normal(0, 1, truth.shape)
    near, far = (np.clip(truth + scale * noise, 0, 255).astype(np.uint8) for scale in (4, 40))
    assert 0.0 == lpips.distance(truth, truth) < lpips.distance(near, truth) < lpips.distance(far, truth)
    assert lpips.distance(truth, far) == pytest.approx(lpips.distance(far, truth))


def test_random_trunk_is_the_same_everywhere_and_has_its_own_key(alex_weights):
    assert Lpips("vgg").keys == ("lpips_vgg_random",)
    assert Lpips("alex", alex_weights).keys == ("lpips_alex",)
    assert Lpips("alex").version == "seed 0" and len(Lpips("alex", alex_weights).version) == 16
    frames = noisy_picture(0, 48), noisy_picture(1, 48)
    assert Lpips("alex").measure(None, *frames) == Lpips("alex").measure(None, *frames)


def test_equals_torchmetrics_with_the_same_trunk(alex_weights):
    """torchmetrics' formula and heads around our features; its own trunk needs torchvision."""
    lpips = Lpips("alex", alex_weights)
    trunk, heads = lpips.network
    scaling, frames = reference.ScalingLayer(), [noisy_picture(s, 48) for s in (0, 1)]
    tensors = [scaling(torch.from_numpy(f.copy()).permute(2, 0, 1)[None] / 127.5 - 1.0) for f in frames]
    expected = 0.0
    for ours, theirs, head in zip(trunk(tensors[0]), trunk(tensors[1]), heads, strict=True):
        layer = reference.NetLinLayer(len(head))
        layer.load_state_dict({"model.0.weight": head[None, :, None, None]})
        difference = (reference._normalize_tensor(ours) - reference._normalize_tensor(theirs)) ** 2
        expected += float(reference._spatial_average(layer(difference)).detach())
    assert lpips.distance(*frames) == pytest.approx(expected, rel=1e-5)
    assert len(pickle.dumps(lpips)) < 1000, "the network is not sent to other processes"
    assert pickle.loads(pickle.dumps(lpips)) == lpips


@pytest.mark.parametrize(("name", "widths"), [("vgg", [64, 128, 256, 512, 512]), ("alex", [64, 192, 384, 256, 256])])
def test_taps_have_the_widths_of_the_published_heads(name, widths):
    with torch.device("meta"):
        outputs = Trunk(name)(torch.empty(1, 3, 64, 64))
    assert [output.shape[1] for output in outputs] == widths == [len(head) for head in read_heads(name)]


@pytest.mark.parametrize("name", LEAST_SIDE)
def test_pictures_that_are_too_small_are_refused_and_no_others(name):
    lpips, least = Lpips(name), LEAST_SIDE[name]
    assert lpips.distance(noisy_picture(0, least), noisy_picture(1, least)) > 0
    with pytest.raises(ValueError, match=f"needs pictures of {least} px or more a side, not {least - 1}x{least - 1}"):
        lpips.distance(noisy_picture(0, least - 1), noisy_picture(1, least - 1))


def test_half_a_file_and_another_file_are_named(alex_weights, tmp_path):
    path, frame = tmp_path / TRUNK_FILES["alex"], noisy_picture(0, 48)
    whole = (alex_weights / TRUNK_FILES["alex"]).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no weights"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="or half of it; delete it and fetch it again"):
            Lpips("alex", tmp_path).distance(frame, frame)
    for state in ({"other": torch.zeros(1)}, [1]):
        torch.save(state, path)
        with pytest.raises(ValueError, match="is not torchvision's file"):
            Lpips("alex", tmp_path).distance(frame, frame)
