"""Laws of the trunk of perceptual losses."""

import pytest
import torch

from ldm.modules.losses.trunk import MEAN, TAP_WIDTHS, Trunk, load_trunk, normalize


@pytest.fixture(scope="module")
def trunk():
    made = Trunk()
    load_trunk(made, None)
    return made.eval()


def test_names_and_sizes_are_torchvisions(trunk):
    """13 convolutions, 14,714,688 parameters, features.0 to features.28; random weights are the same everywhere."""
    state = trunk.state_dict()
    assert len(state) == 26 and sum(v.numel() for v in state.values()) == 14_714_688
    assert {"features.0.weight", "features.28.bias"} <= set(state)
    other = Trunk()
    load_trunk(other, None)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_five_taps_at_halving_sizes(trunk):
    """Of a small picture fewer; the mean colour comes in as zero."""
    frame = torch.tensor(MEAN)[None, :, None, None].expand(1, 3, 8, 8)
    assert normalize(frame, MEAN, (1.0, 1.0, 1.0)).abs().max() < 1e-6 and len(trunk(frame)) == 4
    found = trunk(torch.randn(1, 3, 32, 32))
    assert [f.shape[1] for f in found] == list(TAP_WIDTHS["vgg"])
    assert [f.shape[2] for f in found] == [32, 16, 8, 4, 2]


def test_an_absent_file_is_said_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="stable_diffusion.weights fetch vgg16"):
        load_trunk(Trunk(), tmp_path / "vgg16-397923af.pth")


def test_a_file_of_another_network_is_refused_and_the_right_one_read(tmp_path, trunk):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="is not torchvision's file"):
        load_trunk(Trunk(), tmp_path / "x.pth")
    torch.save({**trunk.state_dict(), "classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    other = Trunk()
    load_trunk(other, tmp_path / "vgg.pth")
    assert torch.equal(other.features[28].weight, trunk.features[28].weight)
