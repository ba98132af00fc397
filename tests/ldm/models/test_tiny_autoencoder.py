"""Laws of the tiny autoencoder: TAESD's layout and scale, told from diffusers where that is installed."""

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from ldm.models.tiny_autoencoder import (
    TinyAutoencoder,
    TinyDecoder,
    TinyEncoder,
    from_published,
    load_tiny_decoder,
)

SCALE = 0.18215
WIDTH = 8


@pytest.fixture
def both():
    torch.manual_seed(0)
    return TinyAutoencoder(SCALE, width=WIDTH)


@pytest.fixture
def latent():
    return 5.0 * torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1))


def equal_states(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def published(both):
    """TAESD's two files: positions in a Sequential, whose first layer of the decoder is the squeeze."""
    files = {"encoder": {}, "decoder": {}}
    for name, value in both.state_dict().items():
        part, _, number, rest = name.split(".", 3)
        files[part][f"{int(number) + (part == 'decoder')}.{rest}"] = value
    return files


@pytest.mark.reference
def test_equal_to_diffusers(both, latent):
    """Its AutoencoderTiny takes the scaled latent, ours the one that is not."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.AutoencoderTiny(encoder_block_out_channels=[WIDTH] * 4, decoder_block_out_channels=[WIDTH] * 4)
    both.load_state_dict(theirs.state_dict())
    frame = torch.rand(2, 3, 24, 40) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(both.decode(latent), theirs.decode(latent * SCALE).sample)
        torch.testing.assert_close(both.encode(frame).mode() * SCALE, theirs.encode(frame).latents)
    theirs.load_state_dict(both.state_dict())


def test_names_and_sizes_are_those_of_taesds_files(both):
    """Positions in the published Sequential, whose first layer of the decoder is the squeeze; 2,445,063 parameters."""
    files = published(both)
    blocks = {"encoder": (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), "decoder": (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)}
    plain = {"encoder": (0, 14), "decoder": (1, 19)}
    strided = {"encoder": (2, 6, 10), "decoder": (7, 12, 17)}
    for part, names in files.items():
        wanted = {f"{i}.conv.{j}.{kind}" for i in blocks[part] for j in (0, 2, 4) for kind in ("weight", "bias")}
        wanted |= {f"{i}.{kind}" for i in plain[part] for kind in ("weight", "bias")}
        assert set(names) == wanted | {f"{i}.weight" for i in strided[part]}
    with torch.device("meta"):
        assert sum(p.numel() for p in TinyAutoencoder(SCALE).parameters()) == 2_445_063


@pytest.mark.parametrize("layout", ["taesd", "diffusers"])
def test_a_file_gives_the_network_that_wrote_it(both, latent, layout, tmp_path):
    tensors = published(both)["decoder"] if layout == "taesd" else both.state_dict()
    assert equal_states(from_published(tensors), both.decoder.state_dict())
    save_file(tensors, tmp_path / "decoder.safetensors")
    decoder = load_tiny_decoder(tmp_path / "decoder.safetensors", SCALE)
    assert torch.equal(decoder.decode(latent), both.decode(latent))
    assert not decoder.training and not any(p.requires_grad for p in decoder.parameters())
    assert (decoder.latent_channels, decoder.downsampling_factor) == (4, 8)
    named = TinyDecoder(SCALE, width=WIDTH, weights=str(tmp_path / "decoder.safetensors"))
    named.load_weights()
    assert equal_states(named.state_dict(), decoder.state_dict())


def test_far_latents_are_squeezed(both):
    """Beyond three times the deviation there is nothing: 100 and 200 decode alike."""
    far = torch.full((1, 4, 2, 2), 100.0) / SCALE
    torch.testing.assert_close(both.decode(far), both.decode(2 * far))


def test_the_cost_is_the_one_planned_with():
    """Counted by hand from the layers: 15.3 and 17.7 GMAC at 256 pixels."""
    with torch.device("meta"):
        steps = ((TinyEncoder(), torch.empty(1, 3, 256, 256)), (TinyDecoder(SCALE), torch.empty(1, 4, 32, 32)))
        found = []
        for network, given in steps:
            with FlopCounterMode(display=False) as counter:
                network(given)
            found.append(counter.get_total_flops() / 2e9)
    assert found == pytest.approx([15.3, 17.7], abs=0.05)


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files["encoder"], "holds no tiny decoder.*weights fetch taesd"),
        (lambda files: {"vae.decoder.conv_in.weight": torch.zeros(1)}, "but vae.decoder.conv_in.weight"),
        (lambda files: without(files["decoder"], "19.bias"), r"1 tensors differ, first layers.18.bias \(absent"),
        (lambda files: files["decoder"] | {"19.bias": torch.zeros(4)}, r"\(4,\) in the file, \(3,\) in the network"),
        (lambda files: files["decoder"] | {"1.weight": torch.zeros(3)}, "no convolution layers.0.weight"),
    ],
    ids=["an encoder", "another network", "a tensor short", "another shape", "no convolution"],
)
def test_a_wrong_file_is_one_sentence(both, change, message, tmp_path):
    save_file(change(published(both)), tmp_path / "decoder.safetensors")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_tiny_decoder(tmp_path / "decoder.safetensors", SCALE)


def test_an_absent_or_broken_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="weights fetch taesd"):
        load_tiny_decoder(tmp_path / "none.safetensors", SCALE)
    (tmp_path / "half.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="no .safetensors file, or not whole"):
        load_tiny_decoder(tmp_path / "half.safetensors", SCALE)
    with pytest.raises(ValueError, match="names no file"):
        TinyDecoder(SCALE).load_weights()


def test_wrong_latents_and_frames_are_said(both):
    with pytest.raises(ValueError, match="latents of 12 channels: the tiny decoder takes 4"):
        both.decode(torch.zeros(1, 12, 2, 2))
    with pytest.raises(ValueError, match="multiples of 8"):
        both.encode(torch.zeros(1, 3, 12, 16))
