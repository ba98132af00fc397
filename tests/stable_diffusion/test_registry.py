"""Laws of the list of published weights."""

import re

from stable_diffusion.registry import REGISTRY

WANTED = {
    "stable-diffusion-v1-5",
    "stable-diffusion-v1-5-ckpt",
    "stable-diffusion-v1-5-diffusers",
    "instruct-pix2pix",
    "instruct-pix2pix-diffusers",
    "vae-ft-mse",
    "clip-vit-large-patch14",
    "taesd",
    "vgg16",
    "lpips-vgg",
}


def test_every_entry_says_what_a_user_must_know():
    assert set(REGISTRY) >= WANTED
    for weights in REGISTRY.values():
        assert weights.what
        assert weights.licence
        assert weights.address.startswith("https://")
        assert weights.files


def test_hashes_are_hashes_and_heavy_files_have_one():
    for name, weights in REGISTRY.items():
        hashes = [file.sha256 for file in weights.files]
        assert all(value is None or re.fullmatch(r"[0-9a-f]{64}", value) for value in hashes)
        assert any(hashes), name


def test_no_two_entries_share_a_file():
    places = [path for weights in REGISTRY.values() for path in weights.places()]
    assert len(places) == len(set(places))


def test_nothing_comes_from_a_repository_that_was_deleted():
    assert not any("runwayml" in weights.address for weights in REGISTRY.values())
