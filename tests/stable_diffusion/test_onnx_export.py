"""Laws of ONNX files: they give what PyTorch gives, for any batch; what is missing is said."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml

from commands.errors import MissingPackageError, UserError
from stable_diffusion.convert import main
from stable_diffusion.onnx_export import OPSET, import_runtime, parts_of, write_onnx

BYTES = {"target": "ldm.modules.encoders.modules.ByteTextEmbedder"}


@pytest.fixture
def run(tmp_path, make_model, model_config, weights_of, write):
    """A small model with a text encoder over bytes: its weights, and its config beside them."""
    config = model_config()
    config["params"]["cond_stage_config"] = BYTES | {"params": {"width": 16, "layers": 1, "heads": 2, "max_length": 20}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": config, "resolution": 16, "sampling": {"steps": 2}}))
    return config


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        MissingPackageError, match=r"--layout onnx needs onnx; install it with: pip install -e .\[onnx\]"
    ):
        import_runtime()


def test_a_config_beside_the_weights_runs_nothing(run, make_model, weights_of, write, tmp_path, capsys):
    """At any depth, before anything is built or exported."""
    run["params"]["unet_config"] = {"target": "os.mkdir", "params": {"path": str(tmp_path / "trace")}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": run, "resolution": 16}))
    path = write("x.safetensors", weights_of(make_model()))
    assert main(["--input", str(path), "--output", str(tmp_path / "y"), "--layout", "onnx"]) == 2
    assert "names 'os.mkdir'" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists() and not (tmp_path / "y").exists()


@pytest.mark.slow
def test_onnx_runtime_gives_what_pytorch_gives(run, tmp_path, write, capsys):
    """U-Net, both halves of the first stage, text encoder; batches that the export has not seen."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from ldm.util import instantiate_from_config

    torch.manual_seed(1)
    model = instantiate_from_config(run).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path, folder = write("x.safetensors", model.state_dict()), tmp_path / "onnx"
    assert main(["--input", str(path), "--output", str(folder), "--layout", "onnx"]) == 0
    assert "unet.onnx  within" in capsys.readouterr().out
    facts = json.loads((folder / "model.json").read_text())
    assert (facts["opset"], facts["resolution"], facts["model"]["scale_factor"]) == (OPSET, 16, 0.18215)
    for part in parts_of(model, 16, batch=5):
        session = runtime.InferenceSession(str(folder / f"{part.name}.onnx"), providers=["CPUExecutionProvider"])
        found = session.run(None, {name: value.numpy() for name, value in part.inputs.items()})[0]
        with torch.no_grad():
            wanted = part.network(*part.inputs.values()).numpy()
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max(), part.name
    with pytest.raises(UserError, match="is not empty"):
        write_onnx(folder, model, {"resolution": 16})
