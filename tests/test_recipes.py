"""The recipes: every number of the papers' table, written down once more by hand; each builds, each trains small."""

import csv
import math
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

import edit_cli
import main as command
from dataset_tools import simulate
from dataset_tools.preparing import episodes as prepare_episodes
from dataset_tools.preparing.request import parse_request
from formats.run_folder import RUN_VARIABLE
from ldm.models.diffusion.conditioning import draw_training
from ldm.training.build import build_trained_model
from ldm.training.checks import data_command
from ldm.training.config import compose
from ldm.util import check_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STEMS = sorted(path.stem for path in (CONFIGS / "recipes").glob("*.yaml"))
RECIPES = [name for name in STEMS if not name.startswith("joint")]  # of pictures; the others: test_joint_recipes.py
TINY = {path.stem: [path] for path in (CONFIGS / "tiny").glob("*.yaml")}
TINY["one_step"] = [*TINY["small"], *TINY["one_step"]]
LATENT = [name for name in RECIPES if name != "first_stage_decoder"]
IP2P, SD, SD_CKPT = "instruct-pix2pix", "stable-diffusion-v1-5", "stable-diffusion-v1-5-ckpt"

# As the papers print them: horizon, resolution, start, batch, accumulated, rate, warm-up, epochs, dropout
TABLE = {
    "afp": (None, 256, IP2P, 2, 8, 1e-4, 0, 100, 0.2),
    "acp_finetune_1": (50, 128, IP2P, 8, 4, 5e-6, 100, 10, 0.0),
    "acp_finetune_2": (50, 128, IP2P, 8, 4, 5e-6, 100, 50, 0.0),
    "acp_small_set": (50, 128, IP2P, 8, 4, 5e-6, 100, 10, 0.0),
    "acp_train_1": (50, 256, SD, 4, 4, 5e-5, 0, 32, 0.0),
    "acp_train_2": (50, 256, SD, 8, 4, 1e-4, 0, 30, 0.0),
    "light_future_stage_1": (100, 128, SD, 8, 1, 1e-4, 100, 50, 0.0),
    "light_future_stage_2": (100, 128, None, 8, 1, 1e-4, 100, 10, 0.0),
    "morpheus": (50, 256, SD_CKPT, 2, 8, 1e-4, 10_000, 100, 0.0),
}


def recipe(name, *overrides):
    return compose([CONFIGS / "recipes" / f"{name}.yaml"], list(overrides))


def tiny(name, *overrides):
    overlays = TINY.get(name, TINY["small"])
    return compose([CONFIGS / "recipes" / f"{name}.yaml", *overlays], list(overrides))


def augmentation(config):
    return config["data"]["params"]["train"]["params"]["augmentation_config"]["params"]


def image_loss(config):
    return config["model"]["params"]["frame_loss_config"]["params"]


def test_one_step_is_afp_at_the_one_level_that_a_single_step_visits():
    """It and the decoder are the recipes that are ours."""
    assert set(RECIPES) == {*TABLE, "one_step", "first_stage_decoder"}
    config, afp = recipe("one_step"), recipe("afp")
    params = config["model"]["params"]
    assert (params["training_steps"], config["sampling"]["steps"], params["parameterization"]) == (1, 1, "x0")
    assert (config["sampling"]["text_scale"], config["sampling"]["image_scale"]) == (1.0, 1.0)
    assert image_loss(config) == image_loss(afp) and image_loss(config)["mode"] == "exact"
    assert config["data"] == afp["data"] and config["pretrained"]["path"].endswith("last.ckpt")
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    assert model.levels == [999]
    small = image_loss(tiny("one_step"))
    assert small["mode"] == "exact" and small["lambda_l1"] > 0 and not small["lambda_lpips"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_data_command_of_a_recipe_is_understood(name):
    """What `prepare` says, and the dry run prints: the flags exist and make a pairing with the recipe's horizon."""
    config = recipe(name)
    words = shlex.split(data_command(config["prepare"], "data/x"))
    assert words[:3] == ["python", "-m", "dataset_tools.prepare_dataset"]
    pairing = parse_request(words[3:]).options.pairing
    assert config["horizon"] is None if pairing.kind == "first_last" else list(pairing.horizons) == [config["horizon"]]


@pytest.mark.parametrize("name", TABLE)
def test_the_numbers_are_the_papers(name):
    config = recipe(name)
    params, data, trainer = config["model"]["params"], config["data"]["params"], config["lightning"]["trainer"]
    found = (
        config["horizon"],
        config["resolution"],
        config["pretrained"]["name"],
        data["batch_size"],
        trainer["accumulate_grad_batches"],
        params["learning_rate"],
        params["scheduler_config"]["params"]["warm_up_steps"][0],
        trainer["max_epochs"],
        params["unet_config"]["params"]["dropout"],
    )
    assert found == TABLE[name]
    assert data["train"]["params"]["resolution"] == config["resolution"]
    assert trainer["precision"] == "16-mixed"
    assert params["weight_decay"] == 0.01 and params["conditioning_dropout"] == 0.05
    assert (params["timesteps"], params["linear_start"], params["linear_end"]) == (1000, 0.00085, 0.012)


@pytest.mark.parametrize("name", [*TABLE, "first_stage_decoder"])
def test_the_network_is_stable_diffusions(name):
    """320 channels, 1,2,4,4, attention at 4,2,1, 8 heads, 1 block, 8 channels in; of the decoder its 1 x 1 too."""
    config = recipe(name)
    check_config(config["model"], "model")
    check_config(config["data"], "data")
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    trained = sum(p.numel() for p in model.trained_parameters())
    if name == "first_stage_decoder":
        assert trained == 49_490_199 and config["pretrained"]["name"] == "vae-ft-mse"
        return
    unet = config["model"]["params"]["unet_config"]["params"]
    assert (unet["model_channels"], unet["channel_mult"], unet["num_heads"]) == (320, [1, 2, 4, 4], 8)
    assert (unet["attention_resolutions"], unet["transformer_depth"], unet["in_channels"]) == ([4, 2, 1], 1, 8)
    assert sum(p.numel() for p in model.model.parameters()) == 859_532_484
    assert trained == (131_043_840 if name.startswith("light_future") else 859_532_484)


def test_afp_loses_lpips_and_l1_and_varies_crop_and_brightness():
    config = recipe("afp")
    loss = image_loss(config)
    assert loss["mode"] == "exact" and loss["lambda_lpips"] > 0 and loss["lambda_l1"] > 0
    assert augmentation(config)["brightness"] == 0.2 and augmentation(config)["crop"] < 1
    assert config["lightning"]["callbacks"]["early_stopping"]["params"]["monitor"].startswith("val/")


def test_acp_flips_saves_and_seeds_as_printed():
    every = {"acp_finetune_1": 2000, "acp_finetune_2": 5000, "acp_train_1": 5000, "acp_train_2": 5000}
    for name, steps in every.items():
        config = recipe(name)
        assert config["lightning"]["checkpoint"]["every_n_steps"] == steps and config["seed"] == 42
        assert "frame_loss_config" not in config["model"]["params"]
        assert augmentation(config)["flip"] == 0.5
    assert recipe("acp_train_2")["data"]["params"]["train"]["params"]["max_samples"] == 50_000
    assert "max_samples" not in recipe("acp_train_1")["data"]["params"]["train"]["params"]


def test_light_future_weighs_1_01_001_without_average_from_64_to_128():
    config = recipe("light_future_stage_1")
    loss = image_loss(config)
    assert (loss["lambda_perceptual"], loss["lambda_adversarial"]) == (0.1, 0.01)
    assert config["model"]["params"]["use_ema"] is False
    assert config["model"]["params"]["trainable_config"]["params"]["parts"] == "light_future"
    sides = config["data"]["params"]["resolutions"]
    assert {side for _, side in sides} == {64, 128} and (sides[0][1], sides[-1][1]) == (64, 128)
    assert sides[-1][0] < 10 * 30, "table 2's 10 epochs end at the side that they are scored at"
    assert config["lightning"]["checkpoint"]["keep_epochs"] == [10, 50]
    assert recipe("light_future_stage_2")["lightning"]["checkpoint"]["keep_epochs"] == [2, 10]
    assert (config["sampling"]["steps"], config["sampling"]["image_scale"]) == (100, 1.0)
    assert recipe("light_future_stage_2")["pretrained"]["path"].endswith("last.ckpt")


def test_morpheus_constrains_meaning_and_flips_as_its_table_or_its_text_says():
    config = recipe("morpheus")
    semantic = image_loss(config)["semantic_config"]["params"]
    assert semantic["lambda_text"] > 0 and semantic["lambda_keep"] > 0 and len(semantic["instructions"]) == 3
    assert (
        augmentation(config)["flip"] == 0.1 and augmentation(config)["view"] > 0 and augmentation(config)["light"] > 0
    )
    text = recipe("morpheus", "data.params.train.params.augmentation_config.params.flip=0.5")
    assert augmentation(text)["flip"] == 0.5
    assert config["lightning"]["trainer"]["check_val_every_n_epoch"] == 4
    assert config["lightning"]["callbacks"]["image_logger"]["params"]["every_n_steps"] * 8 == 2000
    assert config["model"]["params"]["unet_config"]["params"]["use_checkpoint"] is True


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_has_its_header(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("reproduces", "command", "hardware", "time", "expected"):
        assert any(line.startswith(f"#   {word}") for line in header), word


@pytest.fixture
def train(tmp_path, monkeypatch, pair_folder):
    """Runs main.py on a recipe's tiny form and its own pairs; returns the exit code and the run's folder."""
    folder = pair_folder(size=32)

    def call(name, *argv, run=None):
        monkeypatch.delenv(RUN_VARIABLE, raising=False)
        data = [f"data.params.{split}.params.folder={folder}" for split in ("train", "validation")]
        base = ["--base", str(CONFIGS / "recipes" / f"{name}.yaml"), *map(str, TINY.get(name, TINY["small"]))]
        where = ["--resume", str(run)] if run else [*base, "-n", name, "-l", str(tmp_path / "logs")]
        code = command.main([*where, *data, *argv])
        return code, run or next((tmp_path / "logs").glob(f"*_{name}"), None)

    return call


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "afp" else pytest.mark.slow) for name in RECIPES],
)
def test_a_tiny_run_trains_validates_draws_and_resumes(train, name):
    start = []
    if name == "light_future_stage_2":
        _, first = train("light_future_stage_1", "--max_steps", "10", "lightning.checkpoint.every_n_steps=10")
        start = [f"pretrained.path={first / 'checkpoints' / 'last.ckpt'}"]
    fast = ["--val_check_interval", "2", "lightning.callbacks.image_logger.params.every_n_steps=4", *start]
    code, run = train(name, "--max_steps", "4", *fast)
    assert code == 0
    assert (run / "images" / "train" / "step-000004.png").is_file() and list((run / "images" / "val").iterdir())
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert any(row.get("val/loss_simple") or row.get("val/rec_loss") for row in rows)
    assert all(math.isfinite(float(row["train/loss"])) for row in rows if row.get("train/loss"))
    code, _ = train(name, "--max_steps", "6", run=run)
    assert code == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6


PREDICTED = [pytest.param(name, marks=[] if name in ("afp", "one_step") else pytest.mark.slow) for name in LATENT]


@pytest.mark.parametrize("name", PREDICTED)
def test_a_tiny_run_predicts(train, tmp_path, name):
    """edit_cli.py takes everything but the picture from the run's folder."""
    quiet = ["lightning.callbacks.image_logger=null", "lightning.checkpoint.monitor=null"]
    fast = ["--val_check_interval", "1000", *quiet]
    start = []
    if name == "light_future_stage_2":
        _, first = train("light_future_stage_1", "--max_steps", "2", *fast)
        start = [f"pretrained.path={first / 'checkpoints' / 'last.ckpt'}"]
    code, run = train(name, "--max_steps", "2", *fast, *start)
    assert code == 0
    Image.new("RGB", (40, 30), "red").save(tmp_path / "now.png")
    argv = ["--input", tmp_path / "now.png", "--ckpt", run / "checkpoints" / "last.ckpt", "--edit", "stack blocks"]
    assert edit_cli.main([*map(str, argv), "--output", str(tmp_path / "then.png")]) == 0
    with Image.open(tmp_path / "then.png") as picture:
        assert (picture.size, picture.mode) == ((40, 30), "RGB")


def repeated_batch(size):
    coarse = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    source, target = torch.nn.functional.interpolate(coarse, size, mode="bilinear").chunk(2)
    return {"source_frame": source, "target_frame": target, "instruction": ["stack blocks", "x"], "pair_id": ["a", "b"]}


def decoder_loss(model, batch):
    """The loss of the first stage's recipe on all four frames, and their mean difference."""
    frames = torch.cat([batch["source_frame"], batch["target_frame"]])
    parts = model.reconstruction_loss(frames, [torch.Generator().manual_seed(seed) for seed in range(4)])
    return parts["reconstruction"] + parts["kl"], parts["l1"]


def denoising_loss(model, batch):
    """The loss of a recipe with fixed noise, its image terms switched on, and its denoising part."""
    levels, shape = torch.tensor(model.levels), model.latent_shape(batch["target_frame"])
    draws = draw_training(torch.tensor([5, 6]), shape, levels, model.device)

    def terms(start):
        return model.frame_terms(start, draws.t, batch, draws.generators[0])

    x_start, cond = model.get_input(batch, draws, 0.0)
    result = model.p_losses(x_start, cond, draws.t, draws.eps, None if model.frame_loss is None else terms)
    return result.loss, result.parts["loss_simple"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_one_repeated_batch_is_learnt(name):
    """The error falls tenfold on a batch with fixed noise, with the recipe's losses; the decoder's adversary waits."""
    torch.manual_seed(0)
    config = tiny(name) if name not in LATENT else tiny(name, "model.params.learning_rate=0.003")
    if name == "light_future_stage_2":  # its frozen parts come from stage 1; here: from training them all first
        config["model"]["params"]["trainable_config"]["params"]["parts"] = "all"
    if name not in LATENT:
        image_loss(config)["adversarial_config"]["params"]["start_step"] = 10**6
    model = build_trained_model(config["model"])
    model.setup("fit")
    optimizer = torch.optim.AdamW(model.trained_parameters(), lr=model.learning_rate)
    batch, compute = (repeated_batch(16), denoising_loss) if name in LATENT else (repeated_batch(32), decoder_loss)
    errors = []
    for _ in range(400):
        loss, error = compute(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(error.item())
        if errors[-1] < errors[0] / 10:
            return
    raise AssertionError(f"{errors[0]} fell to {min(errors)}")


PARTS = "ldm.models.trained_parts.TrainedParts"
LORA = f"model.params.trainable_config={{target: {PARTS}, params: {{parts: lora, rank: 2}}}}"
EARLY = "model.params.frame_loss_config.params.adversarial_config.params.start_step=1"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "override"), [("acp_train_1", LORA), ("light_future_stage_1", EARLY)])
def test_additions_and_adversaries_resume_exactly(train, name, override):
    """Stopped after 3 of 6 steps: the same weights, low-rank additions, discriminator and its moments."""
    _, whole = train(name, override, "--max_steps", "6")
    first = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    train(name, override, "--max_steps", "3", "-p", "_part")
    part = next(whole.parent.glob(f"*_{name}_part"))
    train(name, "--max_steps", "6", run=part)
    second = torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)
    for key in ("state_dict", "adapters"):
        assert first[key].keys() == second[key].keys()
        assert all(torch.equal(value, second[key][name]) for name, value in first[key].items())
    assert not any("lora_" in name for name in first["state_dict"])
    assert bool(first["adapters"]) == (override == LORA) and ("adversary" in first) == (override == EARLY)


def test_the_bundled_models_config_builds_within_its_size():
    """16 MiB in half precision, with the seconds and the state as inputs; its data commands are understood."""
    config = compose([CONFIGS / name for name in ("train.yaml", "cpu_tiny.yaml", "bundled.yaml")])
    with torch.device("meta"):
        model = build_trained_model(config["model"])
    parts = (model.model, model.cond_stage_model)
    assert 2 * sum(p.numel() for part in parts for p in part.parameters()) < 16 * 2**20
    assert model.takes_seconds and not model.is_deterministic and config["horizon"] is None
    check_config(config["data"], "data")
    recorded, prepared = (shlex.split(line)[3:] for line in config["prepare"].strip().split("\n"))
    assert simulate.make_parser().parse_args(recorded).looks == ["train", "dark", "train", "bright"]
    size = prepare_episodes.make_parser().parse_args(prepared).size
    assert size == [config["resolution"]] == [config["data"]["params"]["train"]["params"]["resolution"]]
