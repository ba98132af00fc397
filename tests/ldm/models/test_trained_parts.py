"""Laws of the choice of what trains."""

import sys
from pathlib import Path

import pytest
import torch

from commands.errors import UserError
from ldm.models.trained_parts import LoraLinear, TrainedParts, make_adamw, merge_adapters
from ldm.training.build import build_trained_model
from ldm.training.config import compose
from ldm.util import instantiate_from_config

TRAIN = Path(__file__).resolve().parents[3] / "configs" / "train.yaml"


@pytest.fixture
def unet(tiny_model_config):
    torch.manual_seed(0)
    return instantiate_from_config(tiny_model_config["params"]["unet_config"])


def output(unet):
    torch.manual_seed(1)
    return unet(torch.randn(2, 24, 4, 4), torch.tensor([3, 500]), context=torch.randn(2, 5, 16))


def trained(unet):
    return {name for name, parameter in unet.named_parameters() if parameter.requires_grad}


def test_cross_attention_and_the_first_convolution_train_alone(unet):
    TrainedParts("cross-attention").select(unet)
    assert all(".attn2." in name or name.startswith("input_blocks.0.0.") for name in trained(unet))
    assert any(name.endswith("attn2.to_out.0.bias") for name in trained(unet))
    TrainedParts("cross-attention", first_convolution=False).select(unet)
    assert "input_blocks.0.0.weight" not in trained(unet)


def test_light_future_adds_part_of_self_attention_and_the_last_encoder_blocks(unet):
    TrainedParts("light_future", last_encoder_blocks=1).select(unet)
    names, last = trained(unet), len(unet.input_blocks) - 1
    assert any(name.endswith("attn1.to_q.weight") for name in names)
    assert not any(name.endswith("attn1.to_k.weight") for name in names if not name.startswith(f"input_blocks.{last}."))
    assert all(n in names for n, _ in unet.named_parameters() if n.startswith(f"input_blocks.{last}."))


@pytest.mark.parametrize(
    ("parts", "millions"),
    [("all", 859.53), ("cross-attention", 43.99), ("light_future", 131.04), ("lora", 0.82)],
)
def test_counts_of_the_full_size_network(parts, millions):
    """By hand, d = 320, 640, 1280 in 5, 5, 6 blocks: attn2 is 2 d d + 2 * 768 d + d, sum 43,962,560; conv_in 23,360;
    queries and values of attn1 2 d d, sum 24,780,800; the last two residual blocks 31,138,560 each.
    """
    config = compose([TRAIN])["model"]["params"]["unet_config"]
    choice = TrainedParts(parts, last_encoder_blocks=2, rank=4)
    with torch.device("meta"):
        unet = instantiate_from_config(config)
        choice.add_adapters(unet)
    choice.select(unet)
    count = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    assert round(count / 1e6, 2) == millions


def test_lora_starts_as_the_network_itself_and_keeps_its_names(unet):
    before, names = output(unet), set(unet.state_dict())
    choice = TrainedParts("lora", rank=2)
    choice.add_adapters(unet)
    choice.select(unet)
    assert torch.equal(output(unet), before)
    assert names < set(unet.state_dict())
    assert all("lora_" in name or name.startswith("input_blocks.0.0.") for name in trained(unet))
    choice.add_adapters(unet)
    assert not any(isinstance(m, LoraLinear) and isinstance(m.weight, LoraLinear) for m in unet.modules())


def test_merged_additions_are_the_plain_layer():
    """W x + (alpha / r) B A x equals (W + (alpha / r) B A) x."""
    torch.manual_seed(0)
    layer = LoraLinear(torch.nn.Linear(6, 5), rank=2, alpha=3.0)
    torch.nn.init.normal_(layer.lora_up)
    x = torch.randn(4, 6)
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.merged(), layer.bias))


def test_a_merged_state_dict_is_plain_and_can_be_put_back(unet):
    TrainedParts("lora", rank=2).add_adapters(unet)
    for name, parameter in unet.named_parameters():
        if "lora_up" in name:
            torch.nn.init.normal_(parameter)
    state = unet.state_dict()
    whole = dict(state)
    taken = merge_adapters(unet, state)
    assert not any("lora_" in name for name in state)
    assert any(not torch.equal(state[name], whole[name]) for name in state)
    state.update(taken)
    assert state.keys() == whole.keys() and all(torch.equal(state[name], whole[name]) for name in state)


def test_wrong_choices_are_said(unet, monkeypatch):
    with pytest.raises(UserError, match="'some' is not one of all, cross-attention"):
        TrainedParts("some")
    with pytest.raises(UserError, match="rank: 8"):
        TrainedParts("lora")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        make_adamw(unet.parameters(), 1e-4, 0.01, 8)
    with pytest.raises(UserError, match="7 is not one of 8, 32"):
        make_adamw(unet.parameters(), 1e-4, 0.01, 7)


LIGHT_FUTURE = {"parts": "light_future", "last_encoder_blocks": 1, "image_encoder": "vae"}


@pytest.fixture
def make_vae_model(tiny_model_config, kl_node):
    """Makes a model whose first stage is a small AutoencoderKL and whose VAE encoder's last layers train."""
    trainable = {"target": "ldm.models.trained_parts.TrainedParts", "params": LIGHT_FUTURE}
    params = {"trainable_config": trainable, "cond_stage_trainable": False}

    def make(**changes):
        torch.manual_seed(0)
        return build_trained_model(kl_node(model=tiny_model_config, **params | changes))

    return make


def test_the_vae_encoders_last_layers_learn_through_the_source_frame_and_leave_the_targets(make_vae_model):
    """Reading by the paper's section 4.2; a resumed run keeps the encoder that its targets began with."""
    model = make_vae_model()
    model.configure_model()
    names = {name for name, p in model.first_stage_model.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in names if name.startswith("encoder.")} == {"mid", "norm_out", "conv_out"}
    assert names >= {"quant_conv.weight"} and not any(name.startswith("decoder") for name in names)
    torch.nn.init.normal_(model.model.diffusion_model.out[-1].weight, std=0.1)
    source, target = torch.rand(2, 2, 3, 8, 8) * 2 - 1
    seeds = {"seed": torch.tensor([1, 2]), "pair_id": ["a", "b"], "instruction": ["a", "b"]}
    batch = {"source_frame": source, "target_frame": target, **seeds}
    draws = model.draw(batch)
    before, context = model.get_input(batch, draws, 0.0)[0], model.encode_context(source)
    optimizer = model.configure_optimizers()["optimizer"]
    model.p_losses(*model.get_input(batch, draws, 0.0), draws.t, draws.eps).loss.backward()
    assert all(p.grad is not None for p in model.first_stage_model.parameters() if p.requires_grad)
    assert all(p.grad is None for name, p in model.first_stage_model.named_parameters() if name not in names)
    optimizer.step()
    assert torch.equal(model.get_input(batch, model.draw(batch), 0.0)[0], before)
    assert not torch.equal(model.encode_context(source), context)
    saved = {"state_dict": dict(model.state_dict())}
    model.on_save_checkpoint(saved)
    assert not any("target_encoder" in name for name in saved["state_dict"])
    again = make_vae_model()
    again.configure_model()
    again.on_load_checkpoint(saved)
    again.load_state_dict(saved["state_dict"])
    assert torch.equal(again.get_input(batch, again.draw(batch), 0.0)[0], before)
    assert torch.equal(again.encode_context(source), model.encode_context(source))


def test_an_image_encoder_that_cannot_train_is_said(make_vae_model, unet):
    with pytest.raises(UserError, match="cannot be cached"):
        make_vae_model().hash_encoders()
    with pytest.raises(UserError, match="predict_change adds"):
        make_vae_model(predict_change=True)
    with pytest.raises(UserError, match="is a Linear; give image_encoder: unet"):
        TrainedParts(**LIGHT_FUTURE).select(unet, torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match="the VAE's encoder has 3 levels"):
        TrainedParts("light_future", 9, image_encoder="vae").select(unet, make_vae_model().first_stage_model)
    with pytest.raises(UserError, match="not one of vae, unet"):
        TrainedParts("light_future", image_encoder="clip")
