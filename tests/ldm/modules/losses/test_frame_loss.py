"""Laws of the image loss."""

import pytest
import torch
from safetensors.torch import save_file

from commands.errors import UserError
from ldm.models.tiny_autoencoder import TinyDecoder
from ldm.modules.losses.frame_loss import FrameLoss, choose_rows, choose_window, cut

LPIPS = {"target": "ldm.modules.losses.lpips.LPIPS", "params": {"weights": None}}
ADVERSARY = {
    "target": "ldm.modules.losses.adversarial.Adversary",
    "params": {"learning_rate": 1e-3, "start_step": 5, "warm_steps": 0, "ndf": 8, "n_layers": 1},
}


def decode(z):
    """A first stage of patches of 2."""
    return torch.pixel_shuffle(z, 2)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    source, target = torch.rand(2, 4, 3, 16, 16) * 2 - 1
    return {"source_frame": source, "target_frame": target, "instruction": ["a", "b", "c", "d"]}


T = torch.tensor([900, 20, 400, 10])


def latents(batch, error=0.25):
    return (torch.pixel_unshuffle(batch["target_frame"], 2) + error).requires_grad_(True)


def test_l1_in_closed_form(batch):
    terms = FrameLoss("exact", lambda_l1=3.0)(latents(batch), decode, T, batch, generator(), 0)
    assert terms.total.item() == pytest.approx(0.75) and terms.parts["l1"].item() == pytest.approx(0.75)


def test_the_true_latent_costs_nothing(batch):
    loss = FrameLoss("exact", lambda_l1=1.0, lambda_lpips=1.0, lpips_config=LPIPS)
    loss.load_weights()
    assert loss(latents(batch, 0.0), decode, T, batch, generator(), 0).total.abs() < 1e-6


def test_gated_over_everything_is_exact(batch):
    both = [FrameLoss(mode, lambda_l1=1.0, share=1.0) for mode in ("exact", "gated")]
    exact, gated = (loss(latents(batch), decode, T, batch, generator(), 0).total for loss in both)
    torch.testing.assert_close(exact, gated)


def test_gated_decodes_the_least_noisy_share_and_no_more(batch):
    decoded = []

    def counting(z):
        decoded.append(tuple(z.shape))
        return decode(z)

    z = latents(batch)
    FrameLoss("gated", lambda_l1=1.0, share=0.3, crop=4)(z, counting, T, batch, generator(), 0).total.backward()
    assert decoded == [(2, 12, 4, 4)]
    touched = z.grad.abs().amax(dim=(1, 2, 3)) > 0
    assert touched.tolist() == [False, True, False, True]


def test_the_crop_compares_the_same_place(batch):
    """A latent that is right has no loss, wherever the square lies."""
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        loss = FrameLoss("gated", lambda_l1=1.0, crop=3)
        assert loss(latents(batch, 0.0), decode, T, batch, g, 0).total == 0


def test_rows_and_windows():
    assert choose_rows(T, 0.5).tolist() == [3, 1] and len(choose_rows(T, 0.01)) == 1
    places = {choose_window((6, 8), 4, torch.Generator().manual_seed(s)) for s in range(60)}
    assert {p[0] for p in places} == {0, 1, 2} and {p[1] for p in places} == set(range(5))
    assert choose_window((3, 3), 4, generator()) == (0, 0, 3, 3)
    assert cut(torch.arange(12).reshape(3, 4), (1, 2, 2, 1)).tolist() == [[6], [10]]


def test_the_adversary_waits_for_its_step(batch):
    loss = FrameLoss("exact", lambda_adversarial=0.01, adversarial_config=ADVERSARY)
    assert "adversarial" not in loss(latents(batch), decode, T, batch, generator(), 4).parts
    assert "adversarial" in loss(latents(batch), decode, T, batch, generator(), 5).parts


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "most"}, "'most' is not one of exact, gated"),
        ({"mode": "gated", "share": 0.0}, "outside"),
        ({"mode": "exact", "lambda_lpips": 1.0}, "give lpips_config"),
    ],
)
def test_wrong_settings_are_said(params, message):
    with pytest.raises(UserError, match=message):
        FrameLoss(**params)


def test_a_weight_of_zero_builds_no_network():
    assert FrameLoss("exact", lambda_l1=1.0, lpips_config=LPIPS).lpips is None


@pytest.fixture
def tiny(tmp_path):
    """Node of a tiny decoder of 4 channels, and the decoder that its file holds."""
    torch.manual_seed(0)
    decoder = TinyDecoder(0.5, width=8)
    tensors = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    save_file(tensors, tmp_path / "tiny.safetensors")
    params = {"scale_factor": 0.5, "width": 8, "weights": str(tmp_path / "tiny.safetensors")}
    return {"target": "ldm.models.tiny_autoencoder.TinyDecoder", "params": params}, decoder


def refuse(z):
    raise AssertionError("the first stage decoded")


def wide_batch(factor=8, num=4):
    source, target = torch.rand(2, num, 3, 4 * factor, 4 * factor, generator=generator()) * 2 - 1
    return {"source_frame": source, "target_frame": target, "instruction": ["a"] * num}


def test_gated_decodes_with_the_tiny_decoder_and_exact_never(tiny):
    node, decoder = tiny
    z = torch.randn(4, 4, 4, 4, generator=generator(), requires_grad=True)
    batch = wide_batch()
    loss = FrameLoss("gated", lambda_l1=1.0, share=1.0, tiny_decoder_config=node)
    loss.load_weights()
    found = loss(z, refuse, T, batch, generator(), 0).total
    torch.testing.assert_close(found, (decoder.decode(z) - batch["target_frame"]).abs().mean())
    found.backward()
    assert z.grad.abs().sum() > 0
    exact = FrameLoss("exact", lambda_l1=1.0, tiny_decoder_config=node)
    assert exact.tiny_decoder is None
    with pytest.raises(AssertionError, match="the first stage decoded"):
        exact(z, refuse, T, batch, generator(), 0)


def test_the_tiny_decoder_is_no_part_of_a_checkpoint_and_moves_along(tiny):
    loss = FrameLoss("gated", lambda_l1=1.0, tiny_decoder_config=tiny[0]).to(torch.float64).train()
    assert not loss.state_dict() and not list(loss.parameters())
    network = loss.tiny_decoder.network
    assert {p.dtype for p in network.parameters()} == {torch.float64} and not network.training


def test_a_tiny_decoder_of_another_first_stage_is_said(tiny):
    loss = FrameLoss("gated", lambda_l1=1.0, tiny_decoder_config=tiny[0])
    with pytest.raises(UserError, match="8 times, this model's first stage 4 times"):
        loss(torch.zeros(4, 4, 4, 4), refuse, T, wide_batch(factor=4), generator(), 0)
