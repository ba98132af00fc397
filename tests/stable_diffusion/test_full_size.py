"""The whole path at Stable Diffusion's true size, with random half-precision weights.

It goes in a process of its own: what earlier tests left in the allocator would count among the peaks.

Outside the default suite: `pytest -m slow -s tests/stable_diffusion/test_full_size.py` prints times and peaks. One run
on two cores of an AMD EPYC with 23 GB, 2026-11-21: write 24 s, ldm -> diffusers 11 s (peak 0.37 GB above the start),
back 11 s (0.49 GB), load 8 s (peak 2.26 GB for a model of 2.13 GB), load the folder 7 s (2.35 GB), one U-Net call at
256 px in bfloat16 32 s; 102 CPU seconds and 3.0 GB resident in all.
"""

import copy
import time
from functools import partial

import pytest
import torch

from commands.processes import make_pool
from ldm.util import instantiate_from_config
from stable_diffusion.checkpoint import open_checkpoint
from stable_diffusion.checkpoint_config import suggest_config
from stable_diffusion.convert import convert
from stable_diffusion.load import load_pretrained
from stable_diffusion.tensor_files import LazyTensor, write_tensor_file
from tests.stable_diffusion.memory import peak_memory

pytestmark = pytest.mark.slow


class Clock:
    """Says what a step took."""

    def __init__(self):
        self.start = time.perf_counter()

    def lap(self, what, *more):
        print(f"{what}: {time.perf_counter() - self.start:.1f} s", *more)
        self.start = time.perf_counter()


def random_state(model):
    """Lazy half-precision weights of a model on no device; each is drawn when it is read."""

    def draw(shape):
        return (0.02 * torch.randn(shape)).half()

    shapes = {name: tuple(v.shape) for name, v in model.state_dict().items() if not name.startswith("model_ema.")}
    return {name: LazyTensor(shape, torch.float16, partial(draw, shape)) for name, shape in shapes.items()}


def test_write_convert_load_call(tmp_path, clip_folder, can_measure_memory, model_config, full_size):
    """Loading needs at most 0.3 of the U-Net's size above the model itself, converting as little."""
    with make_pool(1, torch.set_num_threads, torch.get_num_threads()) as process:
        process.submit(go_the_whole_path, tmp_path, clip_folder, model_config(**full_size)).result()


def go_the_whole_path(tmp_path, clip_folder, config):
    """Write, convert there and back, load both, call the network once."""
    torch.manual_seed(0)
    clock = Clock()
    with torch.device("meta"):
        empty = instantiate_from_config(config)
    unet_bytes = 2 * sum(p.numel() for p in empty.model.parameters())
    write_tensor_file(tmp_path / "x.safetensors", random_state(empty))
    clock.lap("write")

    with peak_memory() as grown:
        convert(tmp_path / "x.safetensors", tmp_path / "folder", "diffusers", tokenizer=clip_folder)
    clock.lap("ldm -> diffusers", f"peak {grown() / 1e9:.2f} GB")
    assert grown() < 0.3 * unet_bytes
    with peak_memory() as grown:
        convert(tmp_path / "folder", tmp_path / "y.safetensors", "ldm")
    clock.lap("diffusers -> ldm", f"peak {grown() / 1e9:.2f} GB")
    assert grown() < 0.3 * unet_bytes
    first, again = (open_checkpoint(tmp_path / name).tensors for name in ("x.safetensors", "y.safetensors"))
    assert all(torch.equal(tensor.read(), again[name].read()) for name, tensor in first.items())
    clock.lap("compare")

    assert suggest_config(tmp_path / "folder")["model"]["params"]["unet_config"]["params"]["num_heads"] == 8
    for source in ("y.safetensors", "folder"):
        model = copy.deepcopy(empty).half()
        model_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        with peak_memory() as grown:
            model.to_empty(device="cpu")  # its pages are touched by loading only
            report = load_pretrained(model, tmp_path / source, use_ema=True)
        clock.lap(f"load {source}", f"peak {grown() / 1e9:.2f} GB for {model_bytes / 1e9:.2f} GB;", str(report))
        assert grown() < model_bytes + 0.3 * unet_bytes
    assert len(report.loaded) == 686 + 248 + 196

    model.model.to(torch.bfloat16)  # half convolutions are slow on a CPU
    with torch.no_grad():
        eps = model.model.diffusion_model(torch.randn(1, 8, 32, 32), torch.tensor([500]), torch.randn(1, 77, 768))
    clock.lap("one U-Net call at 256 px")
    assert eps.shape == (1, 4, 32, 32)
    assert eps.isfinite().all()
