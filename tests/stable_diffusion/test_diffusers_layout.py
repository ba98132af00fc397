"""Laws of the map between latent-diffusion's names and diffusers'; equality of the networks through it."""

import pytest
import torch

from stable_diffusion import diffusers_layout as layout
from stable_diffusion.diffusers_configs import text_config, unet_config, vae_config
from stable_diffusion.recognise import first_stage_params, text_params, unet_params
from stable_diffusion.tensor_files import LazyTensor

UNETS = {  # settings that differ in heads, depth, blocks, levels, attention and entry
    "small": {},
    "one head, attention everywhere": {"num_heads": 1, "attention_resolutions": [1, 2]},
    "two blocks, three levels, attention below": {
        "num_res_blocks": 2,
        "channel_mult": [1, 1, 2],
        "attention_resolutions": [2, 4],
        "num_heads": 2,
    },
    "depth 2, linear entry, heads of 16": {
        "transformer_depth": 2,
        "use_linear_in_transformer": True,
        "num_heads": -1,
        "num_head_channels": 16,
    },
    "4 channels, no attention at the bottom": {"in_channels": 4, "attention_resolutions": [1], "context_dim": 24},
}


def lazy(module):
    return {name: LazyTensor.of(value) for name, value in module.state_dict().items()}


def read(tensors):
    return {name: tensor.read() for name, tensor in tensors.items()}


@pytest.mark.reference
@pytest.mark.parametrize("settings", UNETS.values(), ids=UNETS.keys())
def test_unet_equals_diffusers(make_model, settings):
    """Same weights through the map, non-square input, odd batch: at most 1e-5 apart."""
    from diffusers import UNet2DConditionModel

    ours = make_model(unet=settings).model.diffusion_model
    state = lazy(ours)
    params = unet_params(state, settings.get("num_heads", 4) if settings.get("num_heads") != -1 else None)
    if "num_head_channels" in settings:
        params["num_head_channels"] = settings["num_head_channels"]  # SD v2's is 64
    theirs = UNet2DConditionModel.from_config(unet_config(params))
    theirs.load_state_dict(read(layout.unet_to_diffusers(state)))
    x = torch.randn(3, ours.in_channels, 8, 12)
    t, context = torch.tensor([1, 500, 999]), torch.randn(3, 7, params["context_dim"])
    with torch.no_grad():
        apart = (ours(x, t, context) - theirs.eval()(x, t, context).sample).abs().max()
    assert apart <= 1e-5


@pytest.mark.reference
@pytest.mark.parametrize("ch_mult", [[1, 2], [1, 1, 2]])
def test_first_stage_equals_diffusers(make_model, ch_mult):
    from diffusers import AutoencoderKL

    ddconfig = {"ch": 32, "ch_mult": ch_mult, "num_res_blocks": len(ch_mult) - 1, "z_channels": 4}
    ours = make_model(first_stage={"ddconfig": ddconfig}).first_stage_model
    state = lazy(ours)
    theirs = AutoencoderKL.from_config(vae_config(first_stage_params(state), 0.18215))
    theirs.load_state_dict(read(layout.first_stage_to_diffusers(state)))
    frame = torch.randn(3, 3, 8, 16)
    with torch.no_grad():
        posterior, expected = ours.encode(frame), theirs.eval().encode(frame).latent_dist
        assert (posterior.mode() - expected.mode()).abs().max() <= 1e-5
        assert (posterior.std - expected.std).abs().max() <= 1e-5
        z = torch.randn_like(posterior.mode())
        assert (ours.decode(z) - theirs.decode(z).sample).abs().max() <= 1e-5


@pytest.mark.reference
@pytest.mark.parametrize("settings", [{}, {"layers": 3, "heads": 4, "width": 32, "intermediate": 64}])
def test_text_encoder_equals_transformers(make_model, clip_folder, settings):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    ours = make_model(text={**settings, "version": str(clip_folder)}).cond_stage_model
    state = lazy(ours)
    theirs = CLIPTextModel(CLIPTextConfig(**text_config(text_params(state, settings.get("heads", 2)))))
    names = set(theirs.state_dict())
    weights = read(layout.text_to_transformers(state))
    bare = {name.removeprefix("text_model."): value for name, value in weights.items()}
    theirs.load_state_dict(bare if names == set(bare) else weights)
    sentences = ["stack the blocks", "", "a " * 100]
    tokens = CLIPTokenizer.from_pretrained(str(clip_folder))(
        sentences, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        assert (ours(sentences) - theirs.eval()(tokens).last_hidden_state).abs().max() <= 1e-5


@pytest.mark.parametrize("settings", UNETS.values(), ids=UNETS.keys())
def test_there_and_back_is_the_same(make_model, settings):
    model = make_model(unet=settings)
    cases = (
        (model.model.diffusion_model, layout.unet_to_diffusers, layout.unet_from_diffusers),
        (model.first_stage_model, layout.first_stage_to_diffusers, layout.first_stage_from_diffusers),
        (model.cond_stage_model, layout.text_to_transformers, layout.text_from_transformers),
    )
    for module, there, back in cases:
        state = lazy(module)
        returned = back(there(state))
        assert set(returned) == set(state)
        assert all(torch.equal(returned[name].read(), tensor.read()) for name, tensor in state.items())
        again = there(returned)
        assert all(torch.equal(again[name].read(), tensor.read()) for name, tensor in there(state).items())


def test_old_names_of_the_first_stages_attention(make_model):
    """diffusers before 0.15: query, key, value, proj_attn; and 1x1 convolutions instead of linear layers."""
    state = lazy(make_model().first_stage_model)
    new = layout.first_stage_to_diffusers(state)
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in new.items():
        fresh = next((fresh for fresh in old_names if f"attentions.0.{fresh}." in name), None)
        old[name.replace(f".{fresh}.", f".{old_names[fresh]}.") if fresh else name] = tensor
    assert set(old) != set(new)
    convolutional = {
        name: tensor.map(lambda t: t[:, :, None, None]) if len(tensor.shape) == 2 else tensor
        for name, tensor in new.items()
    }
    for dialect in (old, convolutional):
        returned = layout.first_stage_from_diffusers(dialect)
        assert {name: t.shape for name, t in returned.items()} == {name: t.shape for name, t in state.items()}


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_names_with_and_without_their_prefix(make_model, prefix):
    """transformers >= 5.6 leaves `text_model.` out; position_ids of old files are left out."""
    state = lazy(make_model().cond_stage_model)
    file = {prefix + name.removeprefix("transformer.text_model."): tensor for name, tensor in state.items()}
    file[f"{prefix}embeddings.position_ids"] = LazyTensor.of(torch.arange(77)[None])
    assert set(layout.text_from_transformers(file)) == set(state)


def test_an_unknown_name_is_an_error(make_model):
    strange = LazyTensor.of(torch.zeros(1))
    model = make_model()
    with pytest.raises(ValueError, match=r"U-Net has 1 names .* first middle_block\.7\.weight"):
        layout.unet_to_diffusers({**lazy(model.model.diffusion_model), "middle_block.7.weight": strange})
    with pytest.raises(ValueError, match=r"first stage has 1 names .* first quantize\.embedding\.weight"):
        layout.first_stage_to_diffusers({**lazy(model.first_stage_model), "quantize.embedding.weight": strange})
    with pytest.raises(ValueError, match=r"CLIP's has not: model\.ln_final\.weight"):
        layout.text_from_transformers({"model.ln_final.weight": strange})
