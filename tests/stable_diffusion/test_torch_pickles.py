"""Laws of reading pickles: weights come out, code never runs."""

import argparse
import codecs
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from stable_diffusion.torch_pickles import read_pickle


class Payload:
    """Creates a file when it is unpickled by a careless reader."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_weights_are_found_at_the_root_or_under_state_dict(tmp_path):
    """Of either format of torch.save; parameters come out as plain tensors."""
    state = OrderedDict(w=torch.nn.Parameter(torch.ones(2)))
    for content in (state, {"state_dict": state, "global_step": 3}, {"model_state_dict": dict(state)}):
        for new in (True, False):
            torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=new)
            found = read_pickle(tmp_path / "x.ckpt").tensors["w"]
            assert torch.equal(found, torch.ones(2)) and not found.requires_grad


@pytest.mark.parametrize("function", [os.system, eval, os.mkdir])
@pytest.mark.parametrize("new", [True, False])
def test_code_is_refused_and_not_run(tmp_path, function, new):
    """A harmless payload that would create a file or a folder; beside weights, and alone in a plain pickle."""
    trace = tmp_path / "trace"
    calls = {
        os.system: f"touch {trace}",
        eval: f"__import__('os').mkdir({str(trace)!r})",
        os.mkdir: str(trace),
    }
    path = tmp_path / "x.ckpt"
    content = {"state_dict": {"w": torch.ones(2)}, "callbacks": Payload(function, calls[function])}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ValueError, match=r"holds Python code .* refused, nothing of it was run.*safetensors"):
        read_pickle(path)
    path.write_bytes(pickle.dumps(Payload(function, calls[function]), protocol=2))
    with pytest.raises(ValueError, match="refused|not a whole checkpoint"):
        read_pickle(path)
    assert not trace.exists()


def test_what_lightning_leaves_beside_the_weights_is_dropped(tmp_path):
    """Callbacks as classes, OmegaConf containers, numpy scalars, argparse namespaces: inert, and not imported.

    The list of names that torch allows is afterwards as it was.
    """
    from pytorch_lightning.callbacks import ModelCheckpoint

    content = {
        "state_dict": {"w": torch.ones(2)},
        "callbacks": {ModelCheckpoint: {"best_model_score": np.float64(0.5), "dirpath": "x"}},
        "hyper_parameters": OmegaConf.create({"a": [1, {"b": None}]}),
        "args": argparse.Namespace(x=1),
        "what": "hexagon",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
    }
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "last.ckpt", weights_only=True)
    before = set(torch.serialization.get_safe_globals())
    assert list(read_pickle(tmp_path / "last.ckpt").tensors) == ["w"]
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(("content", "what"), [([torch.ones(1)], "holds a list"), ({"epoch": 3}, "no tensors by name")])
def test_what_is_no_checkpoint_is_said(tmp_path, content, what):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=what):
        read_pickle(tmp_path / "x.pt")


def chained(function, value, times, *more):
    """function(... function(value, *more) ..., *more) as a pickle calls it."""
    for _ in range(times):
        value = Payload(function, value, *more)
    return value


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"w": torch.ones(2), "x": Payload(bytearray, 10**10)}, "holds Python code beside weights \\(bytearray"),
        ({"w": torch.ones(2), "x": chained(codecs.encode, b"0", 34, "hex")}, r"\(_codecs\.encode\)"),
        ({"w": torch.ones(1).expand(10**6, 10**4)}, "whose values are not all in the file"),
        ({"w": torch.ones(3).to_sparse()}, "whose values are not all in the file"),
    ],
)
def test_a_few_bytes_that_would_become_many_are_refused(tmp_path, peak_memory, content, what):
    for new in (True, False):
        torch.save(content, tmp_path / "x.ckpt", _use_new_zipfile_serialization=new)
        with peak_memory() as grown, pytest.raises(ValueError, match=what):
            read_pickle(tmp_path / "x.ckpt")
        assert grown() < 20e6


def test_an_archive_that_would_grow_is_refused_by_its_declared_sizes(tmp_path, peak_memory):
    """torch.save compresses nothing: 100 MB of zeros in 0.1 MB are no checkpoint; nor is a long pickle."""
    path = tmp_path / "x.ckpt"
    torch.save({"w": torch.ones(2)}, path)
    for compression, mark in (
        (zipfile.ZIP_DEFLATED, "in it is compressed, .* would become"),
        (0, "beside its tensors"),
    ):
        with zipfile.ZipFile(tmp_path / "y.ckpt", "w", compression) as archive:
            archive.writestr("x/data.pkl", bytes(24 << 20))
        with peak_memory() as grown, pytest.raises(ValueError, match=mark):
            read_pickle(tmp_path / "y.ckpt")
        assert grown() < 20e6
