"""Laws of cached latents."""

import errno

import pytest
import torch
from PIL import Image

from commands.errors import UserError
from ldm.data import latent_cache
from ldm.data.base import DataModuleFromConfig
from ldm.data.frame_pairs import FramePairDataset, collate
from ldm.data.latent_cache import CachedPairDataset, build_cache, cache_or_check
from ldm.models.diffusion.conditioning import draw_training
from ldm.training.build import build_trained_model

AUGMENTED = {"target": "ldm.data.transforms.PairedAugmentation", "params": {"brightness": 0.2, "crop": 0.8}}


@pytest.fixture
def model(tiny_model_config, kl_node):
    torch.manual_seed(0)
    config = kl_node((1, 2), tiny_model_config, cond_stage_trainable=False, scale_factor=0.18215)
    return build_trained_model(config).eval()


@pytest.fixture
def data(pair_folder):
    return FramePairDataset(pair_folder(), "train", 16)


def loss(model, batch):
    shape = (4, 8, 8)
    draws = draw_training(batch["seed"], shape, torch.tensor(model.levels), model.device)
    x_start, cond = model.get_input(batch, draws, 0.05)
    return model.p_losses(x_start, cond, draws.t, draws.eps).loss


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_training_from_the_cache_is_training_online(model, data, tmp_path, dtype, tolerance):
    """Same seeds, same draws of the posterior, same dropout: the same loss."""
    build_cache(model, data, {}, tmp_path / "cache", dtype=dtype)
    cached = CachedPairDataset(tmp_path / "cache")
    keys = [(0, 11), (3, 22), (1, 33)]
    with torch.no_grad():
        online = loss(model, collate([data[key] for key in keys]))
        offline = loss(model, collate(cached.__getitems__(keys)))
    torch.testing.assert_close(offline, online, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(cached.__getitems__(keys)["seconds"], collate([data[key] for key in keys])["seconds"])


def test_sentences_are_kept_once_with_the_empty_one_first(model, data, tmp_path):
    build_cache(model, data, {}, tmp_path / "cache", dtype="float32")
    cached = CachedPairDataset(tmp_path / "cache")
    assert cached.arrays["text"].shape[0] == 2
    torch.testing.assert_close(cached[0]["null_text"], model.encode_instruction([""]))
    torch.testing.assert_close(cached[0]["text"], model.encode_instruction(["move the square"]))


def test_a_text_encoder_that_trains_is_not_cached(model, data, tmp_path):
    model.cond_stage_trainable = True
    build_cache(model, data, {}, tmp_path / "cache")
    assert "text" not in CachedPairDataset(tmp_path / "cache")[0]


def test_each_variant_is_augmented_by_its_own_seed(model, pair_folder, tmp_path):
    data = FramePairDataset(pair_folder(), "train", 16, augmentation_config=AUGMENTED)
    build_cache(model, data, {"augmentation_config": AUGMENTED}, tmp_path / "cache", variants=3, dtype="float32")
    cached = CachedPairDataset(tmp_path / "cache")
    assert len(cached) == len(data) and len(cached.entries) == 3 * len(data)
    kinds = {tuple(cached[(0, seed)]["source_latent"].flatten()[:3].tolist()) for seed in range(0, 700, 7)}
    assert len(kinds) == 3


def test_data_with_neighbours_are_not_cached(model, data, tmp_path):
    with pytest.raises(UserError, match="--cache-latents keeps no neighbours"):
        cache_or_check(model, data, {"neighbours_config": {"target": "x"}}, tmp_path)


def test_frames_are_kept_where_an_image_loss_wants_them(model, data, tmp_path):
    build_cache(model, data, {}, tmp_path / "cache", keep_frames=True)
    batch = CachedPairDataset(tmp_path / "cache").__getitems__([(2, 5)])
    assert torch.equal(batch["target_frame"][0], data[2]["target_frame"])


def change_weights(model, data):
    with torch.no_grad():
        next(model.first_stage_model.parameters()).add_(1.0)


def change_a_picture(model, data):
    """The pairs keep their names when a folder is prepared again."""
    Image.new("RGB", (16, 16)).save(data.pairs[0].target_path(data.folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_weights, "made with other encoder weights"),
        (lambda model, data: setattr(data, "resolution", 32), "stale: resolution was 16 and is 32"),
        (lambda model, data: setattr(data, "pairs", data.pairs[1:]), "stale: pairs was"),
        (change_a_picture, "stale: pictures was .*\n.*Delete that folder"),
        (lambda model, data: setattr(model, "frame_loss", torch.nn.Identity()), "made without frames"),
    ],
)
def test_a_cache_of_anything_else_is_refused(model, data, tmp_path, change, said):
    for _ in range(2):
        cache_or_check(model, data, {}, tmp_path / "cache")
    change(model, data)
    with pytest.raises(UserError, match=said):
        cache_or_check(model, data, {}, tmp_path / "cache")


def test_half_a_cache_and_useless_variants_are_refused(model, data, tmp_path):
    for variants, said in ((2, "all the same"), (0, "at least 1")):
        with pytest.raises(UserError, match=said):
            cache_or_check(model, data, {}, tmp_path / "cache", variants=variants)
    assert not (tmp_path / "cache").exists()
    build_cache(model, data, {}, tmp_path / "cache")
    (tmp_path / "cache" / "cache.json").unlink()
    with pytest.raises(FileNotFoundError, match="cache.json is missing"):
        CachedPairDataset(tmp_path / "cache")


def test_workers_make_the_same_cache(model, data, tmp_path):
    for num in (0, 1):
        build_cache(model, data, {}, tmp_path / str(num), num_workers=num)
    one, other = (CachedPairDataset(tmp_path / name) for name in "01")
    assert one.entries == other.entries
    assert all(torch.equal(one.arrays[name], other.arrays[name]) for name in one.arrays)


def test_a_cache_on_the_gpu_is_moved_once_at_the_first_batch(model, data, tmp_path, monkeypatch):
    """In the process that trains, so its loader has no workers; where there is no room it stays on disk."""
    node = cache_or_check(model, data, {}, tmp_path / "cache")
    assert "on_gpu" not in node["params"], "made on a CPU"
    sizes = []
    monkeypatch.setattr(latent_cache, "gpu_with_room", lambda size: sizes.append(size) or torch.device("cpu"))
    cached, on_disk = CachedPairDataset(tmp_path / "cache", on_gpu=True), CachedPairDataset(tmp_path / "cache")
    assert not sizes
    for key in ((0, 1), (2, 5)):
        ours, theirs = cached[key], on_disk[key]
        assert all(torch.equal(ours[name], theirs[name]) for name in ("source_latent", "target_mean", "text"))
    assert sizes == [sum(array.nbytes for array in on_disk.arrays.values())]
    assert cached.device == torch.device("cpu") and on_disk.device is None
    module = DataModuleFromConfig(2, 0, num_workers=3)
    assert module._loader_options(cached)["num_workers"] == 0 and module._loader_options(on_disk)["num_workers"] == 3


def test_a_full_disk_is_said_before_anything_is_written_to_the_map(model, data, tmp_path, monkeypatch):
    """A memory map of a sparse file would end the process by a bus error instead."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latent_cache.os, "posix_fallocate", full)
    with pytest.raises(UserError, match="GB for source.npy alone, .* cannot hold .No space left"):
        build_cache(model, data, {}, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))
