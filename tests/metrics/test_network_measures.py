import torch

from metrics.network_measures import default_weights_folder, find_networks
from metrics.perceptual import TRUNK_FILES, Trunk


def test_pixel_measures_need_no_network():
    networks = find_networks(("psnr", "ssim"))
    assert networks.meters == () and networks.keys == () and networks.notes == ()


def test_absent_weights_are_said_and_the_measure_left_out(tmp_path):
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
