"""Laws of the first stages."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm.models.autoencoder import AutoencoderKL, PatchFirstStage, VectorQuantizer, VQModel

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference" / "ldm_vae_small.npz"
SMALL = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 4}
VQ = {**SMALL, "double_z": False}


@pytest.fixture(scope="module")
def kl():
    torch.manual_seed(0)
    return AutoencoderKL(SMALL, embed_dim=4).requires_grad_(False)


@pytest.fixture(scope="module")
def vq():
    torch.manual_seed(0)
    return VQModel(VQ, n_embed=16, embed_dim=3).requires_grad_(False)


@pytest.mark.reference
def test_output_equals_the_original():
    """Agreement with latent-diffusion's own module, same weights and input."""
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is absent")
    stored = np.load(REFERENCE)
    model = AutoencoderKL(json.loads(str(stored["ddconfig"])), int(stored["embed_dim"])).requires_grad_(False)
    model.load_state_dict({k[7:]: torch.from_numpy(stored[k]) for k in stored.files if k.startswith("weight/")})
    posterior = model.encode(torch.from_numpy(stored["x"]))
    moments = torch.cat([posterior.mean, posterior.logvar], 1)
    assert (moments - torch.from_numpy(stored["moments"])).abs().max() <= 1e-5
    mode = torch.from_numpy(stored["moments"])[:, :4]
    assert (model.decode(mode) - torch.from_numpy(stored["decoded_from_mode"])).abs().max() <= 1e-5


@pytest.mark.parametrize("first_stage", ["kl", "vq", "patch"])
def test_a_frame_that_does_not_divide_is_refused(first_stage, request):
    model = PatchFirstStage(2) if first_stage == "patch" else request.getfixturevalue(first_stage)
    with pytest.raises(ValueError, match="7 x 8: the first stage wants multiples of 2"):
        model.encode(torch.zeros(1, 3, 7, 8))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="double_z: true"):
        AutoencoderKL(VQ, 4)
    with pytest.raises(ValueError, match="double_z: false"):
        VQModel(SMALL, 16, 4)
    with pytest.raises(ValueError, match="wanted 1 or more"):
        PatchFirstStage(0)


def test_quantizer_takes_the_nearest_vector():
    torch.manual_seed(0)
    quantizer, z = VectorQuantizer(9, 3), torch.randn(2, 3, 4, 5)
    distance = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, 3), quantizer.embedding.weight)
    assert torch.equal(quantizer.indices(z).flatten(), distance.argmin(1))
    book = quantizer.embedding.weight.detach()
    exact = book.T[None, :, None, :3]
    assert torch.allclose(quantizer(exact), exact)


def test_quantizer_passes_the_gradient():
    z = torch.randn(1, 3, 2, 2, requires_grad=True)
    (VectorQuantizer(5, 3)(z) * 2).sum().backward()
    assert (z.grad == 2).all()


def test_vq_latent_is_the_one_before_quantisation(vq):
    """Quantising is decoding's part, so decoding a latent and its quantised version is the same."""
    frame = torch.randn(1, 3, 8, 8)
    z = vq.encode(frame).mode()
    assert not torch.allclose(z, vq.quantize(z))
    assert torch.allclose(vq.decode(z), vq.decode(vq.quantize(z)), atol=1e-5)
    assert vq(frame).shape == frame.shape


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_patches_lose_nothing(patch_size):
    model, frame = PatchFirstStage(patch_size), torch.randn(2, 3, 8, 12)
    z = model.encode(frame).sample()
    assert z.shape == (2, model.latent_channels, 8 // patch_size, 12 // patch_size)
    assert torch.equal(model.decode(z), frame)
    assert torch.equal(model(frame), frame)
    assert not list(model.parameters())
