"""BlendingUNet: what stands still is copied, what the mask takes away shows the scene, and a size is refused."""

import pytest
import torch

from ldm.modules.diffusionmodules.blending import SCENE_GAIN, BlendingUNet

PATCH, SIZE, SCALE = 2, 4, 3.0
CHANNELS = 3 * PATCH**2


@pytest.fixture
def network():
    torch.manual_seed(0)
    return BlendingUNet(
        in_channels=2 * CHANNELS,
        out_channels=CHANNELS,
        latent_size=SIZE,
        mask_channels=PATCH**2,
        scale_factor=SCALE,
        model_channels=32,
        num_res_blocks=1,
        attention_resolutions=[1],
        channel_mult=[1],
        num_heads=4,
        context_dim=8,
    ).requires_grad_(False)


@pytest.fixture
def source():
    return torch.rand(2, CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def change(network, source):
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(2))
    context = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3))
    return network(torch.cat([noise, source], dim=1), torch.tensor([5, 7]), context)


def set_mask(network, logit):
    network.out[2].bias[CHANNELS:] = logit


def test_with_the_mask_off_nothing_changes(network, source):
    set_mask(network, -1e4)
    assert torch.equal(change(network, source), torch.zeros_like(source))


def test_with_the_mask_on_the_source_is_gone(network, source):
    set_mask(network, 1e4)
    network.scene.uniform_(-0.1, 0.1)
    predicted = source + change(network, source) / SCALE  # as LatentDiffusion adds it
    torch.testing.assert_close(predicted, (SCENE_GAIN * network.scene).expand_as(source))


def test_a_mask_of_the_patch_is_one_a_pixel_for_all_three_colours(network, source):
    pixel = 3  # lower right of each 2 x 2 patch
    set_mask(network, -1e4)
    network.out[2].bias[CHANNELS + pixel] = 1e4
    moved = torch.pixel_shuffle(change(network, source), PATCH) != 0
    wanted = torch.zeros_like(moved)
    wanted[..., 1::2, 1::2] = True
    assert torch.equal(moved, wanted)


def test_another_latent_size_is_refused_by_name(network):
    frames = torch.zeros(1, 2 * CHANNELS, 2 * SIZE, 2 * SIZE)
    with pytest.raises(ValueError, match="8 x 8.*4 x 4"):
        network(frames, torch.tensor([0]), torch.zeros(1, 5, 8))


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="mask_channels 5"):
        BlendingUNet(in_channels=24, out_channels=12, latent_size=4, mask_channels=5, scale_factor=1.0)
