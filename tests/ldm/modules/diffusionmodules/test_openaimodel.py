"""Laws of the U-Net."""

import json
from inspect import signature

import pytest
import torch

from ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, UNetModel, Upsample

SD_V1 = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": 2,
    "attention_resolutions": (4, 2, 1),
    "channel_mult": (1, 2, 4, 4),
}


@pytest.mark.reference
def test_output_equals_the_original(reference):
    """Agreement with latent-diffusion's own module, same weights and input."""
    arrays, weights = reference("ldm_unet_small.npz")
    settings = json.loads(str(arrays["config"]))
    network = UNetModel(**{k: v for k, v in settings.items() if k in signature(UNetModel).parameters})
    network.load_state_dict(weights)
    with torch.no_grad():
        y = network(*(torch.from_numpy(arrays[name]) for name in ("x", "t", "context")))
    assert (y - torch.from_numpy(arrays["y"])).abs().max() <= 1e-5


def test_parameter_counts_of_published_networks():
    """859,532,484 with 8 input channels (SD v1, InstructPix2Pix); 865,910,724 with 4 (SD v2)."""
    with torch.device("meta"):
        v1 = UNetModel(**SD_V1, num_heads=8, context_dim=768)
        v2 = UNetModel(
            **{**SD_V1, "in_channels": 4}, num_head_channels=64, context_dim=1024, use_linear_in_transformer=True
        )
    assert sum(p.numel() for p in v1.parameters()) == 859_532_484
    assert sum(p.numel() for p in v2.parameters()) == 865_910_724


def test_a_new_network_gives_zero(make_unet, unet_inputs):
    assert (make_unet(scrambled=False)(*unet_inputs()) == 0).all()


def test_a_new_residual_block_is_its_skip_connection():
    x, emb = torch.randn(2, 32, 4, 4), torch.randn(2, 16)
    assert torch.equal(ResBlock(32, 16, 32, 0.0, False)(x, emb), x)
    widening = ResBlock(32, 16, 64, 0.0, False)
    assert torch.equal(widening(x, emb), widening.skip_connection(x))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 10), (4, 18), (2, 2)])
def test_sizes_need_neither_be_square_nor_powers_of_two(make_unet, unet_inputs, height, width):
    x, t, context = unet_inputs(batch=3, height=height, width=width)
    assert make_unet()(x, t, context).shape == (3, 4, height, width)


def test_a_size_that_does_not_halve_is_refused(make_unet, unet_inputs):
    with pytest.raises(ValueError, match="multiples of 2"):
        make_unet()(*unet_inputs(height=7))
    with pytest.raises(ValueError, match=r"halves it 2 times.*multiples of 4"):
        make_unet(channel_mult=(1, 1, 1))(*unet_inputs(height=6))


def test_a_wrong_number_of_channels_is_refused(make_unet, unet_inputs):
    x, t, context = unet_inputs()
    with pytest.raises(ValueError, match=r"takes \(B, 8, H, W\)"):
        make_unet()(x[:, :4], t, context)


def test_samples_of_a_batch_do_not_touch(make_unet, unet_inputs):
    network, (x, t, context) = make_unet(), unet_inputs(batch=3)
    with torch.no_grad():
        alone = network(x[1:2], t[1:2], context[1:2])
        assert torch.allclose(network(x, t, context)[1:2], alone, atol=1e-5)


def test_frame_time_and_text_all_matter(make_unet, unet_inputs):
    network, (x, t, context) = make_unet(), unet_inputs()
    with torch.no_grad():
        y = network(x, t, context)
        changed = x.clone()
        changed[:, 4:] += 1
        for other in (network(changed, t, context), network(x, t + 300, context), network(x, t, context + 1)):
            assert (other - y).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_network_gives_about_the_same(make_unet, unet_inputs, dtype):
    """Pure half weights, inputs in any precision; the output has the input's dtype."""
    network, (x, t, context) = make_unet(), unet_inputs()
    with torch.no_grad():
        full = network(x, t, context)
        network.to(dtype)
        from_half, from_full = network(x.to(dtype), t, context.to(dtype)), network(x, t, context)
    assert from_half.dtype == dtype
    assert from_full.dtype == torch.float32
    assert (from_full - full).abs().max() < 0.05 * full.abs().max()


def test_autocast_gives_about_the_same(make_unet, unet_inputs):
    network, (x, t, context) = make_unet(), unet_inputs()
    with torch.no_grad():
        full = network(x, t, context)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network(x, t, context)
    assert (mixed - full).abs().max() < 0.05 * full.abs().max()


def test_channels_last_gives_the_same(make_unet, unet_inputs):
    network, (x, t, context) = make_unet(), unet_inputs()
    with torch.no_grad():
        y = network(x, t, context)
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t, context)
    assert torch.allclose(y, last, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_checkpointing_changes_no_gradient(make_unet, unet_inputs, autocast):
    """Also with the input blocks frozen, as in partial fine-tuning."""
    grads = []
    for use_checkpoint in (False, True):
        network = make_unet(use_checkpoint=use_checkpoint)
        network.input_blocks.requires_grad_(False)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            network(*unet_inputs(height=4, width=4)).square().mean().backward()
        grads.append([p.grad for p in network.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_dropout_acts_in_training_only(make_unet, unet_inputs):
    network, inputs = make_unet(dropout=0.5), unet_inputs(height=4, width=4)
    with torch.no_grad():
        assert not torch.equal(network(*inputs), network(*inputs))
        network.eval()
        assert torch.equal(network(*inputs), network(*inputs))


@pytest.mark.parametrize("given", [{"num_heads": -1}, {"num_heads": 4, "num_head_channels": 8}])
def test_heads_are_given_in_one_way(make_unet, given):
    with pytest.raises(ValueError, match="exactly one"):
        make_unet(**given)


@pytest.mark.parametrize("given", [{"num_heads": 3}, {"num_heads": -1, "num_head_channels": 24}])
def test_heads_divide_the_channels(make_unet, given):
    with pytest.raises(ValueError, match="do not divide"):
        make_unet(**given)


def test_head_channels_mean_the_same_as_heads(make_unet, unet_inputs):
    """With one level, 4 heads of 32 channels are heads of 8."""
    by_count = make_unet(channel_mult=(1,), attention_resolutions=(1,))
    by_size = make_unet(channel_mult=(1,), attention_resolutions=(1,), num_heads=-1, num_head_channels=8)
    by_size.load_state_dict(by_count.state_dict())
    with torch.no_grad():
        assert torch.equal(by_count(*unet_inputs()), by_size(*unet_inputs()))


def test_resampling_doubles_and_halves():
    x = torch.randn(1, 32, 6, 4)
    assert Upsample(32)(x).shape == (1, 32, 12, 8)
    assert Downsample(32)(x).shape == (1, 32, 3, 2)
