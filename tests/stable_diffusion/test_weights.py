"""Laws of the list of published weights, of looking them up and of fetching them."""

import dataclasses
import hashlib
import re
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stable_diffusion import weights
from stable_diffusion.registry import REGISTRY, WeightFile, Weights

CONTENT = bytes(range(256)) * 64


class RangeServer(BaseHTTPRequestHandler):
    """Serves CONTENT from the byte that is asked for; keeps the ranges it was asked."""

    def __init__(self, asked, *args):
        self.asked = asked
        super().__init__(*args)

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *args):
        pass


def test_every_entry_says_what_a_user_must_know():
    """Who gives it under which licence, one hash at least, and a place that no other entry has."""
    named = {"stable-diffusion-v1-5", "stable-diffusion-v1-5-ckpt", "stable-diffusion-v1-5-diffusers", "taesd"}
    named |= {"instruct-pix2pix", "instruct-pix2pix-diffusers", "clip-vit-large-patch14", "vae-ft-mse"}
    assert set(REGISTRY) >= named | {"vgg16", "lpips-vgg"}
    for entry in REGISTRY.values():
        assert entry.what and entry.licence and entry.address.startswith("https://")
        assert "runwayml" not in entry.address, "whose repositories were deleted"
        hashes = [file.sha256 for file in entry.files if file.sha256 is not None]
        assert hashes and all(re.fullmatch(r"[0-9a-f]{64}", value) for value in hashes)
    places = [path for entry in REGISTRY.values() for path in entry.places()]
    assert len(places) == len(set(places))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(here, monkeypatch):
    """A registry entry whose file a local server gives; what the server was asked."""
    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeServer, asked))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/toy.bin"
    file = WeightFile(address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "toy.bin")
    monkeypatch.setitem(REGISTRY, "toy", Weights("a toy", "none", (file,)))
    yield asked
    server.shutdown()


def test_absent_weights_say_what_to_put_where_and_are_found_there(here):
    with pytest.raises(FileNotFoundError) as caught:
        weights.resolve("instruct-pix2pix")
    message = str(caught.value)
    assert "python -m stable_diffusion.weights fetch instruct-pix2pix" in message
    assert "instruct-pix2pix-00-22000.ckpt -> checkpoints/instruct-pix2pix-00-22000.ckpt" in message
    (here / "checkpoints").mkdir()
    path = here / "checkpoints" / "instruct-pix2pix-00-22000.ckpt"
    path.write_bytes(b"x")
    assert weights.resolve("instruct-pix2pix").name == path.name and weights.resolve(path) == path


def test_a_file_of_another_size_is_half_a_download(here):
    (here / "checkpoints").mkdir()
    (here / "checkpoints" / "v1-5-pruned-emaonly.safetensors").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="half a download"):
        weights.resolve("stable-diffusion-v1-5")


def test_a_wrong_name_gets_the_nearest(here):
    with pytest.raises(ValueError, match="did you mean 'instruct-pix2pix'"):
        weights.resolve("instruct-pix2pi")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        weights.resolve("folder/absent.ckpt")


def test_fetching_downloads_checks_and_names(served):
    path = weights.fetch("toy")
    assert path.read_bytes() == CONTENT
    assert weights.resolve("toy") == path
    weights.fetch("toy")
    assert served == [None]  # the second time, nothing was asked


def test_fetching_goes_on_where_it_broke_off(served, here):
    (here / "checkpoints").mkdir()
    (here / "checkpoints" / "toy.bin.partial").write_bytes(CONTENT[:1000])
    assert weights.fetch("toy").read_bytes() == CONTENT
    assert served == ["bytes=1000-"]


def test_a_wrong_hash_is_refused_and_removed(served, here):
    bad = dataclasses.replace(REGISTRY["toy"].files[0], sha256="0" * 64)
    REGISTRY["toy"] = dataclasses.replace(REGISTRY["toy"], files=(bad,))
    with pytest.raises(ValueError, match="published is 0000"):
        weights.fetch("toy")
    assert not [path for path in (here / "checkpoints").iterdir() if path.is_file()]


def test_without_a_network_fetching_says_what_to_put_where(here, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    assert weights.main(["fetch", "taesd"]) == 2
    said = capsys.readouterr().err
    assert "-> checkpoints/taesd.safetensors" in said
    assert "Name or service not known" in said


def test_the_hub_is_asked_for_the_right_file(here, monkeypatch):
    def download(repository, path, local_dir):
        assert (repository, path) == ("madebyollin/taesd", "diffusion_pytorch_model.safetensors")
        local_dir.mkdir(parents=True)
        (local_dir / path).write_bytes(CONTENT)
        return str(local_dir / path)

    file = dataclasses.replace(REGISTRY["taesd"].files[0], bytes=None, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(REGISTRY, "taesd", dataclasses.replace(REGISTRY["taesd"], files=(file,)))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert weights.fetch("taesd").read_bytes() == CONTENT


def test_commands(here, capsys):
    assert weights.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in REGISTRY)
    assert weights.main(["where", "instruct-pix2pix"]) == 2
    assert weights.main(["where", "nonsense"]) == 2
    assert "stable_diffusion.weights: 'nonsense' is neither a file nor known weights" in capsys.readouterr().err
