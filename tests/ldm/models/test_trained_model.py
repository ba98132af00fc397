"""Laws of what fine-tuning adds; exact resume with it is tested in tests/test_recipes.py."""

from types import SimpleNamespace

import pytest
import torch

from commands.errors import UserError
from ldm.models.trained_parts import LoraLinear
from ldm.modules.basic import hash_weights

LORA = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "lora", "rank": 2}}
CROSS = {"target": "ldm.models.trained_parts.TrainedParts", "params": {"parts": "cross-attention"}}


def test_additions_come_with_training_and_only_once(make_model):
    model = make_model(trainable_config=LORA)
    names = set(model.state_dict())
    model.configure_model()
    model.configure_model()
    added = [m for m in model.model.modules() if isinstance(m, LoraLinear)]
    averaged = [m for m in model.model_ema.modules() if isinstance(m, LoraLinear)]
    assert added and len(added) == len(averaged)
    assert not any(".lora_" in name for name in names), "built for prediction, the model is plain"


def test_a_checkpoint_is_plain_and_loads_back_exactly(make_model, loss_of):
    model = make_model(trainable_config=LORA)
    model.configure_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_up" in name:
                parameter.normal_()
    saved = {"state_dict": dict(model.state_dict())}
    model.on_save_checkpoint(saved)
    plain = make_model()
    plain.load_state_dict(saved["state_dict"])
    torch.testing.assert_close(loss_of(plain).loss, loss_of(model).loss, atol=1e-5, rtol=1e-4)
    again = make_model(trainable_config=LORA)
    again.configure_model()
    again.on_load_checkpoint(saved)
    again.load_state_dict(saved["state_dict"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_frozen_parts_are_bit_identical_after_training(make_model, loss_of):
    model = make_model(trainable_config=CROSS, cond_stage_trainable=False)
    torch.nn.init.normal_(model.model.diffusion_model.out[-1].weight, std=0.1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = model.configure_optimizers()["optimizer"]
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model).loss.backward()
        optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    trained = {id(p) for p in model.trained_parameters()}
    assert changed and changed <= {name for name, p in model.named_parameters() if id(p) in trained}
    assert all(".attn2." in name or "input_blocks.0.0" in name for name in changed)


@pytest.mark.parametrize("parts", [None, CROSS, LORA])
def test_checkpointed_activations_give_the_same_gradients(make_model, tiny_model_config, parts, loss_of):
    """With frozen parts and under autocast, where the original's own checkpointing failed."""
    gradients = []
    for use_checkpoint in (False, True):
        unet = tiny_model_config["params"]["unet_config"]
        config = {**unet, "params": unet["params"] | {"use_checkpoint": use_checkpoint}}
        model = make_model(unet_config=config, trainable_config=parts)
        model.configure_model()
        torch.nn.init.constant_(model.model.diffusion_model.out[-1].weight, 0.1)
        torch.manual_seed(0)
        for name, parameter in model.model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.autocast("cpu", torch.bfloat16):
            loss_of(model).loss.backward()
        gradients.append([p.grad for p in model.trained_parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert any(g.abs().sum() > 0 for g in gradients[0])


@pytest.mark.slow
def test_compiling_keeps_names_and_output(make_model, monkeypatch, loss_of):
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend="eager"))
    plain, model = make_model(), make_model(compile_unet=True)
    model.configure_model()
    assert plain.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(loss_of(model).loss, loss_of(plain).loss)


def test_a_checkpoint_of_another_recipe_is_refused(make_model, tiny_model_config):
    unet = tiny_model_config["params"]["unet_config"]
    wider = make_model(unet_config={**unet, "params": unet["params"] | {"model_channels": 64}})
    with pytest.raises(UserError, match="of another recipe: .* tensors differ, first"):
        make_model().on_load_checkpoint({"state_dict": wider.state_dict()})


def test_cached_latents_of_other_encoders_stop_the_fit(make_model):
    model, seen = make_model(), []
    data = SimpleNamespace(datasets={"train": SimpleNamespace(check_weights=seen.append), "val": object()})
    model.trainer = SimpleNamespace(datamodule=data)
    model.on_fit_start()
    assert seen == [model.hash_encoders()]


def test_a_hash_sees_every_value():
    layer = torch.nn.Linear(3, 3)
    before = hash_weights(layer)
    assert hash_weights(layer) == before
    with torch.no_grad():
        layer.bias[2] += 1e-6
    assert hash_weights(layer) != before
