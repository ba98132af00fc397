"""BlendingUNet: what stands still is copied, what the mask takes away shows the scene, and a size is refused."""

import pytest
import torch

from commands.errors import UserError
from ldm.modules.diffusionmodules.blending import SCENE_GAIN, BlendingUNet

PATCH, SIZE, SCALE = 2, 4, 3.0
CHANNELS = 3 * PATCH**2


def make_network(**options):
    torch.manual_seed(0)
    return BlendingUNet(
        in_channels=2 * CHANNELS,
        out_channels=CHANNELS,
        latent_size=options.pop("latent_size", SIZE),
        mask_channels=PATCH**2,
        scale_factor=SCALE,
        model_channels=32,
        num_res_blocks=1,
        attention_resolutions=[1],
        channel_mult=[1],
        num_heads=4,
        context_dim=8,
        **options,
    ).requires_grad_(False)


@pytest.fixture
def network():
    return make_network()


@pytest.fixture
def source():
    return torch.rand(2, CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def change(network, source, *vector, seed=2, frames=()):
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(seed))
    context = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3))
    return network(torch.cat([noise, source, *frames], dim=1), torch.tensor([5, 7]), context, *vector)


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


def test_a_network_that_sees_no_noise_draws_the_same_from_any(source):
    network = make_network(sees_noise=False)
    network.out[2].reset_parameters()
    assert torch.equal(change(network, source, seed=2), change(network, source, seed=9))


def test_the_detail_head_has_its_pixels_where_the_patches_have_them(source):
    """With its mask off in all but one pixel of a patch, that pixel alone changes."""
    network = make_network(detail_channels=8)
    assert torch.equal(change(network, source), -SCALE * 0.5 * source), "at first half the source is gone"
    planes = network.detail.layers[-2].bias  # patches of half the side: 1 x 1 here, one number a plane
    planes[3] = -1e4
    assert not change(network, source).any()


def test_weights_without_a_vector_draw_the_same_in_a_network_with_a_map(network, source):
    """The first layer's new channels and the vector's last layer are zero: the first output is the old one."""
    network.out[2].reset_parameters()
    wide = make_network(adm_in_channels=6, map_channels=4, latent_size=SIZE * 2)
    old = make_network(latent_size=SIZE * 2)
    old.out[2].reset_parameters()
    known = old.state_dict()
    first = "input_blocks.0.0.weight"
    known[first] = torch.nn.functional.pad(known[first], (0, 0, 0, 0, 0, 4))
    lost = wide.load_state_dict(known, strict=False)
    assert all(name.startswith(("label_emb.", "vector_map.")) for name in lost.missing_keys)
    source = source.repeat(1, 1, 2, 2)
    torch.testing.assert_close(change(wide, source, torch.randn(2, 6)), change(old, source))


def test_with_all_weight_on_a_neighbour_its_future_is_copied(source):
    """Whatever the scene; without its frames the network says what it wants."""
    network = make_network(neighbours=2)
    frames = [torch.rand_like(source) for _ in range(4)]  # current and future of the first, then of the second
    set_mask(network, 1e4)
    network.out[2].bias[-(PATCH**2) :] = 2e4
    torch.testing.assert_close(source + change(network, source, frames=frames) / SCALE, frames[3])
    with pytest.raises(UserError, match=r"takes \(B, 72, H, W\), got \(2, 24, 4, 4\)"):
        change(network, source)


def test_neighbours_are_described_by_their_difference_from_the_source(source):
    network = make_network(neighbours=2)
    same = network._describe(source, source, source)
    torch.testing.assert_close(same, network._describe(source + 1.0, source + 1.0, source + 1.0))
