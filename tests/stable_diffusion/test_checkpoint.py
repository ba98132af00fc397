"""Laws of opening and loading checkpoints."""

import logging

import pytest
import torch

from commands.errors import MissingFileError, UserError
from ldm.models.autoencoder import PatchFirstStage, VQModel
from ldm.util import instantiate_from_config
from stable_diffusion.checkpoint import open_checkpoint
from stable_diffusion.checkpoint_config import suggest_config
from stable_diffusion.diffusers_layout import first_stage_to_diffusers, unet_to_diffusers
from stable_diffusion.load import FIRST_CONVOLUTION, load_first_stage, load_pretrained
from stable_diffusion.published_names import POSITION_IDS, published_average_name, schedule_tables
from stable_diffusion.tensor_files import LazyTensor


def published(model, weights_of):
    """State dict as InstructPix2Pix's file has it: raw weights, average without dots, tables, position_ids."""
    state = weights_of(model)
    for name, value in model.model_ema.average.state_dict().items():
        state[published_average_name("model." + name)] = value
    state["model_ema.decay"], state["model_ema.num_updates"] = torch.tensor(0.9999), torch.tensor(3)
    state[POSITION_IDS] = torch.arange(77)[None]
    return state | schedule_tables(1000, 0.00085, 0.012)


def assert_same(model, state):
    ours = model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("use_ema", [False, True])
def test_a_published_file_loads_whole(make_model, weights_of, write, suffix, use_ema):
    """Raw or averaged weights as asked; nothing missing, nothing unexpected; our average starts there."""
    source, model = make_model(seed=1, use_ema=True), make_model(seed=2, use_ema=True)
    path = write(f"x{suffix}", published(source, weights_of))
    report = load_pretrained(model, path, use_ema=use_ema)
    assert (report.missing, report.unexpected, report.widened) == ((), (), ())
    assert report.weights == ("average" if use_ema else "raw")
    network = source.model_ema.average if use_ema else source.model
    assert_same(model.model, network.state_dict())
    assert_same(model.first_stage_model, source.first_stage_model.state_dict())
    assert_same(model.cond_stage_model, source.cond_stage_model.state_dict())
    assert_same(model.model_ema.average, network.state_dict())
    assert int(model.model_ema.num_updates) == 0
    assert report.by_part()["text encoder"]["loaded"] == len(source.cond_stage_model.state_dict())
    assert "missing 0, unexpected 0" in str(report)


@pytest.mark.parametrize("use_ema", [False, True])
def test_our_own_runs_load(make_model, use_ema, tmp_path):
    """As Lightning writes them, beside optimiser and callbacks."""
    source, model = make_model(seed=1, use_ema=True), make_model(seed=2)
    content = {
        "state_dict": source.state_dict(),
        "global_step": 5,
        "optimizer_states": [],
        "pytorch-lightning_version": "2",
    }
    run = tmp_path / "logs" / "run"
    (run / "checkpoints").mkdir(parents=True)
    torch.save(content, run / "checkpoints" / "last.ckpt")
    report = load_pretrained(model, run, use_ema=use_ema)
    assert report.path.name == "last.ckpt"
    assert_same(model.model, (source.model_ema.average if use_ema else source.model).state_dict())


@pytest.mark.parametrize(
    "dialect",
    [
        lambda name: name.replace(".text_model.", "."),  # transformers >= 5.6: never a silently random text encoder
        lambda name: name.replace("diffusion_model.", "diffusion_model._orig_mod."),  # a compiled network
    ],
)
def test_a_file_of_halves_under_other_names_loads_whole(make_model, weights_of, write, dialect):
    source, model = make_model(seed=1), make_model(seed=2)
    path = write("x.safetensors", {dialect(name): value.half() for name, value in weights_of(source).items()})
    load_pretrained(model, path, use_ema=False)
    assert_same(model, {name: value.half().float() for name, value in weights_of(source).items()})


def test_stable_diffusion_is_widened_for_the_frame(make_model, weights_of, write):
    """The U-Net gives what the narrow one gave, whatever the new channels hold, until they are trained."""
    source, model = make_model(unet={"in_channels": 4}), make_model(seed=2)
    path = write("x.safetensors", weights_of(source))
    report = load_pretrained(model, path, use_ema=False)
    assert report.widened == (FIRST_CONVOLUTION,)
    x, frame, context = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4), torch.randn(2, 5, 16)
    t = torch.tensor([3, 700])
    with torch.no_grad():
        expected = source.model.diffusion_model(x, t, context)
        found = model.model.diffusion_model(torch.cat([x, frame], 1), t, context)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"\(32, 4, 3, 3\) in the file and \(32, 8, 3, 3\) in the model"):
        load_pretrained(model, path, use_ema=False, widen=False)
    with pytest.raises(ValueError, match="narrowing would throw away"):
        load_pretrained(source, write("wide.safetensors", weights_of(model)), use_ema=False)


def test_nothing_is_touched_when_something_does_not_fit(make_model, weights_of, write):
    source, model = make_model(seed=1), make_model(seed=2)
    before = weights_of(model)
    state = weights_of(source)
    del state["cond_stage_model.transformer.text_model.final_layer_norm.bias"]
    with pytest.raises(ValueError, match=r"1 of \d+ tensors are missing, first cond_stage_model.*final_layer_norm"):
        load_pretrained(model, write("x.ckpt", state), use_ema=False)
    assert_same(model, before)


def test_what_the_model_has_not_is_reported(make_model, weights_of, write, caplog):
    state = weights_of(make_model()) | {
        "model.diffusion_model.extra.weight": torch.ones(1),
        "first_stage_model.loss.logvar": torch.ones(1),
    }
    with caplog.at_level(logging.WARNING):
        report = load_pretrained(make_model(), write("x.ckpt", state), use_ema=False)
    assert report.unexpected == ("model.diffusion_model.extra.weight",)
    assert "1 tensors that the model has not" in caplog.text


@pytest.fixture
def first_stage_run(make_model, tmp_path):
    """Run folder as `first_stage_training` leaves it: first_stage_model.* and the loss's own networks."""

    def make(model):
        path = tmp_path / "decoder_run" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        weights = {f"first_stage_model.{n}": v for n, v in model.first_stage_model.state_dict().items()}
        torch.save({"state_dict": weights | {"frame_loss.lpips.x": torch.ones(1)}}, path)
        return path.parent.parent

    return make


def test_a_fine_tuned_decoder_replaces_the_models_own(make_model, write, first_stage_run, tmp_path, caplog):
    """From a run, a file of either kind, a folder in diffusers' layout; only the first stage changes."""
    base, tuned = make_model(seed=1), make_model(seed=1)
    with torch.no_grad():
        tuned.first_stage_model.decoder.conv_out.weight.add_(1.0)
    state = tuned.first_stage_model.state_dict()
    run, whole = first_stage_run(tuned), write("x.ckpt", state)
    folder = tmp_path / "vae"
    folder.mkdir()
    converted = first_stage_to_diffusers({name: LazyTensor.of(value) for name, value in state.items()})
    write("vae/diffusion_pytorch_model.safetensors", {name: tensor.read() for name, tensor in converted.items()})
    (folder / "config.json").write_text("{}")
    for source in (run, whole, folder):
        model = make_model(seed=1)
        report = load_first_stage(model, source)
        assert len(report.loaded) == len(state)
        assert_same(model, tuned.state_dict())
        assert not torch.equal(
            model.first_stage_model.decoder.conv_out.weight, base.first_stage_model.decoder.conv_out.weight
        )
    assert not caplog.records
    load_first_stage(make_model(seed=2), run)
    assert "another encoder than the model's first stage" in caplog.text


def test_a_training_of_the_first_stage_takes_it_out_of_a_whole_model(make_model, write, weights_of):
    source, training = make_model(seed=1), torch.nn.Module()
    training.first_stage_model = make_model(seed=2).first_stage_model
    report = load_pretrained(training, write("x.ckpt", weights_of(source)), use_ema=False)
    assert report.unexpected == ()
    assert_same(training.first_stage_model, source.first_stage_model.state_dict())


def test_a_first_stage_that_does_not_fit_is_refused(make_model, write):
    model, unet = make_model(), write("unet.ckpt", make_model().model.diffusion_model.state_dict())
    other = make_model(first_stage={"ddconfig": {"ch": 64, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4}})
    wide = write("wide.ckpt", other.first_stage_model.state_dict())
    before = model.first_stage_model.state_dict()["decoder.conv_out.weight"].clone()
    with pytest.raises(UserError, match="holds only: U-Net; give one with the first stage"):
        load_first_stage(model, unet)
    with pytest.raises(UserError, match=r"another shape: .* looks like an AutoencoderKL \(ch 64"):
        load_first_stage(model, wide)
    assert torch.equal(model.first_stage_model.state_dict()["decoder.conv_out.weight"], before)
    with pytest.raises(MissingFileError, match="fetch vae-ft-mse"):
        load_first_stage(model, "vae-ft-mse")
    model.first_stage_model = PatchFirstStage(8)
    with pytest.raises(UserError, match="PatchFirstStage, has no weights to replace"):
        load_first_stage(model, wide)


def test_tamings_first_stage_loads(make_model, write):
    """taming-transformers and latent-diffusion: discriminator and perceptual loss beside the model, dropped."""
    ddconfig = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4, "double_z": False}
    vq = VQModel({**ddconfig, "attn_resolutions": [128]}, n_embed=9, embed_dim=4)
    state = vq.state_dict() | {"loss.discriminator.main.0.weight": torch.ones(1)}
    model = make_model()
    model.first_stage_model = VQModel({**ddconfig, "attn_resolutions": [128]}, n_embed=9, embed_dim=4)
    report = load_pretrained(model, write("vqgan.ckpt", state), use_ema=False, parts=["first_stage_model"])
    assert (report.missing, report.unexpected) == ((), ())
    assert_same(model.first_stage_model, vq.state_dict())


def test_parts_of_other_dialects_are_recognised(make_model, write):
    source = make_model()
    unet = {name: LazyTensor.of(value) for name, value in source.model.diffusion_model.state_dict().items()}
    text = source.cond_stage_model.state_dict()
    files = {
        "model.diffusion_model.": write("u.ckpt", source.model.diffusion_model.state_dict()),
        "model.diffusion_model.out": write("d.ckpt", {n: t.read() for n, t in unet_to_diffusers(unet).items()}),
        "cond_stage_model.": write(
            "t.ckpt",
            {n.removeprefix("transformer."): t for n, t in text.items()}
            | {"vision_model.x": torch.ones(1), "logit_scale": torch.ones(1)},
        ),
    }
    for prefix, path in files.items():
        assert any(name.startswith(prefix) for name in open_checkpoint(path).tensors)
        assert set(open_checkpoint(path).tensors) <= set(source.state_dict())


def test_a_model_of_another_family_is_named(make_model, weights_of, write):
    """SD XL and v2 in a v1 config: what it looks like and what to use; no shape lists."""
    for name, what in (("lora_mid.lora_down.weight", "is a LoRA.*merge it into"), ("layer.weight", "no network that")):
        with pytest.raises(ValueError, match=what):
            open_checkpoint(write("x.ckpt", {name: torch.ones(1)}))
    with pytest.raises(ValueError, match="holds only: first stage; give a whole model"):
        load_pretrained(make_model(), write("v.ckpt", make_model().first_stage_model.state_dict()), use_ema=False)
    state = weights_of(make_model(unet={"context_dim": 24}))
    path = write("x.ckpt", state)
    with pytest.raises(ValueError, match=r"another shape: .*attn2\.to_k.* looks like a U-Net of another size"):
        load_pretrained(make_model(), path, use_ema=False)
    state |= {"conditioner.embedders.1.x": torch.ones(1)}
    with pytest.raises(ValueError, match=r"looks like Stable Diffusion XL: give Stable Diffusion v1\.5"):
        load_pretrained(make_model(), write("xl.ckpt", state), use_ema=False)
    state = {name: value for name, value in state.items() if name.startswith("model.")}
    state["cond_stage_model.model.ln_final.weight"] = torch.ones(1)
    with pytest.raises(ValueError, match=r"looks like Stable Diffusion v2.*FrozenOpenCLIPEmbedder"):
        load_pretrained(make_model(), write("v2.ckpt", state), use_ema=False)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_loading_holds_one_copy(write, peak_memory, suffix, monkeypatch):
    """A network of 60 MB loads in little more memory than it has already, whatever the file's kind."""
    model = torch.nn.Module()
    model.model = torch.nn.ParameterDict({f"w{i}": torch.nn.Parameter(torch.ones(250_000)) for i in range(60)})
    path = write(f"x{suffix}", {name: value.detach() for name, value in model.state_dict().items()})
    monkeypatch.setattr("stable_diffusion.tensor_files.WINDOW", 4 << 20)
    with peak_memory() as grown:
        load_pretrained(model, path, use_ema=False)
    assert grown() < 18e6  # 0.3 of the network


def test_a_config_is_found_by_itself(folder, weights_of):
    """edit_cli without --config: the model of a bare checkpoint is rebuilt and loads."""
    source, path = folder
    config = suggest_config(path)
    assert {"model", "sampling", "resolution"} <= set(config)
    model = instantiate_from_config(config["model"])
    assert load_pretrained(model, path, use_ema=True).weights == "raw"
    assert_same(model, weights_of(source))
    x, context = torch.randn(1, 8, 4, 4), model.cond_stage_model(["stack"])
    with torch.no_grad():
        expected = source.model.diffusion_model(x, torch.tensor([5]), context)
        assert torch.equal(model.model.diffusion_model(x, torch.tensor([5]), context), expected)


def test_a_config_needs_a_model_that_sees_a_frame(make_model, weights_of, write):
    path = write("x.ckpt", weights_of(make_model(unet={"in_channels": 4})), unet_heads="4")
    with pytest.raises(ValueError, match=r"does not see a frame .*4 input channels.*pretrained\.path="):
        suggest_config(path)
    part = write("y.ckpt", make_model().first_stage_model.state_dict())
    with pytest.raises(ValueError, match="holds no U-Net and no text encoder"):
        suggest_config(part)
