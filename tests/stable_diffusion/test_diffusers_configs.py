"""Laws of the JSON files of a diffusers folder."""

import pytest

from stable_diffusion import diffusers_configs as configs

SD_UNET = {
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": 2,
    "attention_resolutions": [1, 2, 4],
    "channel_mult": [1, 2, 4, 4],
    "num_heads": 8,
    "context_dim": 768,
    "transformer_depth": 1,
    "use_linear_in_transformer": False,
}
DDCONFIG = {
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "z_channels": 4,
    "in_channels": 3,
    "out_ch": 3,
    "attn_resolutions": [],
}


def test_unet_config_is_stable_diffusions():
    made = configs.unet_config(SD_UNET)
    assert made["block_out_channels"] == [320, 640, 1280, 1280]
    assert made["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert made["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert (made["attention_head_dim"], made["cross_attention_dim"], made["in_channels"]) == (8, 768, 8)
    assert configs.heads_of_unet(made) == 8


def test_heads_by_size_become_heads_by_level():
    params = {**SD_UNET, "num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
    made = configs.unet_config(params)
    assert made["attention_head_dim"] == [5, 10, 20, 20]
    assert configs.heads_of_unet(made) is None


def test_vae_config_is_stable_diffusions():
    made = configs.vae_config({"ddconfig": DDCONFIG, "embed_dim": 4}, 0.18215)
    assert made["block_out_channels"] == [128, 256, 512, 512]
    assert (made["latent_channels"], made["layers_per_block"], made["scaling_factor"]) == (4, 2, 0.18215)


@pytest.mark.parametrize(
    "changes",
    [{"n_embed": 8}, {"embed_dim": 3}, {"ddconfig": {**DDCONFIG, "attn_resolutions": [32]}}],
)
def test_a_first_stage_without_counterpart_is_refused(changes):
    with pytest.raises(ValueError, match="no counterpart in diffusers' AutoencoderKL"):
        configs.vae_config({"ddconfig": DDCONFIG, "embed_dim": 4, **changes}, 0.18215)


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_the_schedule_survives_the_round_trip(parameterization):
    ours = {"timesteps": 500, "linear_start": 0.001, "linear_end": 0.02, "parameterization": parameterization}
    assert configs.schedule_of(configs.scheduler_config(ours)) == ours


def test_another_law_of_betas_is_refused():
    with pytest.raises(ValueError, match="betas are 'squaredcos_cap_v2'"):
        configs.schedule_of({"beta_schedule": "squaredcos_cap_v2"})
    with pytest.raises(ValueError, match="prediction_type is 'flow', wanted one of epsilon"):
        configs.schedule_of({"prediction_type": "flow"})
