import torch

from metrics.measures import networks as network_measures
from metrics.measures.clip_similarity import MODEL_NAME, ClipSimilarity
from metrics.measures.networks import default_weights_folder, find_lpips_at_hand, find_networks
from metrics.measures.perceptual import TRUNK_FILES, Trunk


def test_absent_weights_are_said_and_the_measure_left_out(tmp_path):
    pixels_alone = find_networks(("psnr", "ssim"))
    assert pixels_alone.meters == pixels_alone.keys == pixels_alone.notes == ()
    networks = find_networks(("lpips_vgg", "fid", "clip_text", "psnr"), tmp_path)
    assert networks.keys == ()
    said = " ".join(networks.notes)
    assert "LPIPS vgg is left out" in said and "vgg16-397923af.pth is absent" in said
    assert "FID and KID are left out" in said and "CLIP similarity is left out" in said


def test_random_trunk_is_marked(tmp_path):
    networks = find_networks(("lpips_alex_random",), tmp_path)
    assert networks.keys == ("lpips_alex_random",)
    assert "random trunk" in networks.notes[0] and "not comparable" in networks.notes[0]


def test_weights_in_use_are_named_with_their_hash(tmp_path):
    torch.save(Trunk("alex").state_dict(), tmp_path / TRUNK_FILES["alex"])
    networks = find_networks(("lpips_alex",), tmp_path)
    assert networks.keys == ("lpips_alex",)
    assert networks.meters[0].version in networks.notes[0] and "alexnet-owt-7be5be79.pth" in networks.notes[0]


def test_weights_are_looked_for_where_torch_keeps_them(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_weights_folder() == tmp_path / "hub" / "checkpoints"


def test_what_the_weights_command_fetched_is_found_too(monkeypatch, tmp_path):
    """And a folder with CLIP's tokenizer alone does not hide the model in the cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(network_measures, "FETCHED", tmp_path / "checkpoints")
    clip = tmp_path / "checkpoints" / network_measures.CLIP_FOLDER
    clip.mkdir(parents=True)
    (clip / "vocab.json").write_text("{}")
    torch.save(Trunk("alex").state_dict(), tmp_path / "checkpoints" / TRUNK_FILES["alex"])
    assert find_networks(("lpips_alex",)).keys == ("lpips_alex",)

    class Cached(ClipSimilarity):
        @property
        def model(self):
            if self.source != MODEL_NAME:
                raise OSError("no model here")

    monkeypatch.setattr("metrics.measures.clip_similarity.ClipSimilarity", Cached)
    assert find_networks(("clip_text",)).keys == ("clip_text", "clip_image")


def test_lpips_joins_where_a_trunk_is_at_hand_and_can_see_the_pictures(tmp_path):
    """Nobody has to ask for it; AlexNet's before VGG's."""
    assert find_lpips_at_hand(tmp_path, 128) == ()
    for name in ("vgg", "alex"):
        (tmp_path / TRUNK_FILES[name]).touch()
        assert find_lpips_at_hand(tmp_path, 128) == (f"lpips_{name}",) and find_lpips_at_hand(tmp_path, 16) == ()
