"""Laws of the JSON files of a diffusers folder."""

import pytest

from stable_diffusion import diffusers_configs as configs


def test_networks_of_stable_diffusions_size_are_described_as_diffusers_does(full_size):
    made = configs.unet_config(full_size["unet"])
    assert made["block_out_channels"] == [320, 640, 1280, 1280]
    assert made["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert made["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert (made["attention_head_dim"], made["cross_attention_dim"], made["in_channels"]) == (8, 768, 8)
    assert configs.heads_of_unet(made) == 8
    by_size = {"num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True}
    made = configs.unet_config(full_size["unet"] | by_size)
    assert made["attention_head_dim"] == [5, 10, 20, 20] and configs.heads_of_unet(made) is None
    made = configs.vae_config(full_size["first_stage"], 0.18215)
    assert made["block_out_channels"] == [128, 256, 512, 512]
    assert (made["latent_channels"], made["layers_per_block"], made["scaling_factor"]) == (4, 2, 0.18215)


@pytest.mark.parametrize("changes", [{"n_embed": 8}, {"embed_dim": 3}, {"ddconfig": {"attn_resolutions": [32]}}])
def test_a_first_stage_without_counterpart_is_refused(full_size, changes):
    params = full_size["first_stage"]
    changes = changes | {"ddconfig": params["ddconfig"] | changes.get("ddconfig", {})}
    with pytest.raises(ValueError, match="no counterpart in diffusers' AutoencoderKL"):
        configs.vae_config(params | changes, 0.18215)


@pytest.mark.parametrize("parameterization", ["eps", "v", "x0"])
def test_the_schedule_survives_the_round_trip(parameterization):
    ours = {"timesteps": 500, "linear_start": 0.001, "linear_end": 0.02, "parameterization": parameterization}
    assert configs.schedule_of(configs.scheduler_config(ours)) == ours


def test_another_law_of_betas_is_refused():
    with pytest.raises(ValueError, match="betas are 'squaredcos_cap_v2'"):
        configs.schedule_of({"beta_schedule": "squaredcos_cap_v2"})
    with pytest.raises(ValueError, match="prediction_type is 'flow', wanted one of epsilon"):
        configs.schedule_of({"prediction_type": "flow"})
