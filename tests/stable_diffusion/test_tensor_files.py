"""Laws of reading and writing tensors."""

import errno
import json
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from commands.errors import UserError
from stable_diffusion import tensor_files
from stable_diffusion.tensor_files import LazyTensor, open_tensor_file, write_tensor_file


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {
        "a.weight": torch.randn(3, 4),
        "b.half": torch.randn(5).half(),
        "c.brain": torch.randn(2, 1, 2).bfloat16(),
        "d.count": torch.tensor(7),
        "e.ids": torch.arange(3)[None],
        "f.none": torch.empty(0, 4),
    }


def lazy(state):
    return {name: LazyTensor.of(value) for name, value in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_what_is_written_is_read(tmp_path, state, suffix):
    """Names, shapes, dtypes, values and words about the file; shapes without reading values."""
    path = tmp_path / f"x{suffix}"
    write_tensor_file(path, lazy(state), {"unet_heads": "4"})
    file = open_tensor_file(path)
    assert set(file.tensors) == set(state)
    assert file.metadata["unet_heads"] == "4"
    for name, value in state.items():
        assert (file.tensors[name].shape, file.tensors[name].dtype) == (tuple(value.shape), value.dtype)
        assert torch.equal(file.tensors[name].read(), value)


def test_safetensors_reads_our_files_and_we_its(tmp_path, state):
    write_tensor_file(tmp_path / "ours.safetensors", lazy(state))
    theirs = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(theirs[name], value) for name, value in state.items())
    save_file(state, tmp_path / "theirs.safetensors")
    ours = open_tensor_file(tmp_path / "theirs.safetensors").tensors
    assert all(torch.equal(ours[name].read(), value) for name, value in state.items())


def test_a_reopened_window_gives_the_same(tmp_path, state, monkeypatch):
    """The mapping is renewed after every byte; tensors that were read before stay as they are."""
    monkeypatch.setattr(tensor_files, "WINDOW", 0)
    for path in (tmp_path / "x.safetensors", tmp_path / "x.ckpt"):
        write_tensor_file(path, lazy(state))
        tensors = open_tensor_file(path).tensors
        values = {name: tensors[name].read() for name in state}
        assert all(torch.equal(values[name], value) for name, value in state.items())


def test_map_knows_its_shape_before_reading():
    read = []
    source = LazyTensor((2, 3), torch.float32, lambda: read.append(1) or torch.ones(2, 3))
    changed = source.map(lambda t: t.half()[:, :1])
    assert (changed.shape, changed.dtype, changed.nbytes, read) == ((2, 1), torch.float16, 4, [])
    assert torch.equal(changed.read(), torch.ones(2, 1).half())


def test_shards_are_one_file(tmp_path, state):
    names = list(state)
    save_file({n: state[n] for n in names[:3]}, tmp_path / "m-1.safetensors")
    save_file({n: state[n] for n in names[3:]}, tmp_path / "m-2.safetensors")
    where = {n: "m-1.safetensors" if i < 3 else "m-2.safetensors" for i, n in enumerate(names)}
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    assert set(open_tensor_file(index).tensors) == set(state)
    (tmp_path / "m-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists 2 shards, and m-2.safetensors is not beside it"):
        open_tensor_file(index)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.6, 0.999])
def test_half_a_download_is_said(tmp_path, state, suffix, kept):
    whole = tmp_path / f"whole{suffix}"
    write_tensor_file(whole, lazy({**state, "g": torch.randn(1000)}))
    half = tmp_path / f"half{suffix}"
    content = whole.read_bytes()
    half.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"half\.\w+ is not a whole .* half a download\? Delete it and fetch it again"):
        open_tensor_file(half)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"<!DOCTYPE html><html>", "web page"), (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer")],
)
def test_what_downloads_leave_behind_is_named(tmp_path, content, what):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=what):
        open_tensor_file(tmp_path / "x.ckpt")


@pytest.mark.parametrize(("length", "size"), [(2**63, 100), (50 << 20, 60 << 20), (90, 100)])
def test_a_header_longer_than_weights_have_is_refused(tmp_path, peak_memory, length, size):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(size)
    with peak_memory() as grown, pytest.raises(UserError, match="no weights|not a whole safetensors file"):
        open_tensor_file(path)
    assert grown() < 20e6


@pytest.mark.parametrize("shard", ["../m-1.safetensors", "/m-1.safetensors", "m.safetensors.index.json", 5, ["x"]])
def test_a_shard_lies_beside_its_index_and_is_no_index(tmp_path, shard):
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match="is no path inside|is no tensor file|weight_map"):
        open_tensor_file(index)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"none of .safetensors, .ckpt"):
        open_tensor_file(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_tensor_file(tmp_path / "absent.ckpt")


def test_not_a_number_is_named_and_nothing_is_left(tmp_path, state):
    state["a.weight"][1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"a\.weight holds 1 values of 12 that are NaN or Inf"):
        write_tensor_file(tmp_path / "x.safetensors", lazy(state))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_before_writing(tmp_path, state, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 90, 10))
    with pytest.raises(OSError, match="needs 0.00 GB") as caught:
        write_tensor_file(tmp_path / "new" / "x.safetensors", lazy(state))
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_disk_that_fills_while_writing_leaves_nothing(tmp_path, state, monkeypatch, suffix):
    def no_room(*args):
        raise (RuntimeError("PytorchStreamWriter failed writing file") if suffix == ".ckpt" else OSError(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", no_room)
    monkeypatch.setattr(tensor_files, "_write_safetensors", no_room)
    with pytest.raises(OSError, match="28|could not be written"):
        write_tensor_file(tmp_path / f"x{suffix}", lazy(state))
    assert not list(tmp_path.iterdir())


def test_writing_streams(tmp_path, peak_memory):
    """Thirty tensors of 8 MB pass through the memory of a few."""
    made = LazyTensor((2_000_000,), torch.float32, lambda: torch.ones(2_000_000))
    with peak_memory() as grown:
        write_tensor_file(tmp_path / "x.safetensors", {f"t{i:02}": made for i in range(30)})
    assert grown() < 80e6  # all thirty would be 240e6
