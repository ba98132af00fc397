"""Laws of the other engine: it gives what PyTorch gives; what it cannot do, and what is not installed, is said."""

import sys

import pytest
import torch

import edit_cli
from commands.errors import UserError
from ldm.util import instantiate_from_config
from prediction.engine import use_onnxruntime
from prediction.load import load_predictor
from prediction.model_request import ModelRequest


def test_what_is_not_installed_is_said_in_one_sentence(pair_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["--input", pair_folder(), "--output", tmp_path / "o", "--engine", "onnxruntime"]
    assert edit_cli.main([str(word) for word in arguments]) == 2
    said = capsys.readouterr().err
    assert "--engine onnxruntime needs onnx" in said and "pip install -e .[onnx]" in said and "Traceback" not in said


def test_flags_of_pytorch_alone_are_refused():
    for flag in ({"compile": True}, {"precision": "bf16"}):
        with pytest.raises(UserError, match="computes in fp32 and compiles nothing"):
            ModelRequest(engine="onnxruntime", **flag)


@pytest.mark.slow
def test_onnx_runtime_predicts_what_pytorch_predicts(tmp_path, monkeypatch):
    """The bundled model: outputs of the network within 1e-4 of the largest, frames within one grey level."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ours, theirs = (load_predictor(ModelRequest(engine=engine)) for engine in ("onnxruntime", "pytorch"))
    frames = torch.randint(0, 256, (2, 3, 128, 128), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sentences = ["stack blocks", "beat the block with the hammer"]
    predicted = [one.predictor.predict(frames, sentences, [1, 2]).int() for one in (ours, theirs)]
    assert int((predicted[0] - predicted[1]).abs().max()) <= 1
    context = [one.predictor.model.encode_instruction(sentences) for one in (ours, theirs)]
    torch.testing.assert_close(*context, atol=1e-4, rtol=0.0)
    x, t = torch.randn(2, 384, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([999, 999])
    networks = [one.predictor.model.model.diffusion_model for one in (ours, theirs)]
    with torch.inference_mode():
        found, wanted = networks[0](x, t, {networks[0]: context[1]}), networks[1](x, t, context[1])
    assert float((found - wanted).abs().max() / wanted.abs().max()) <= 1e-4
    assert ours.settings()["engine"] == "onnxruntime" and "engine" not in theirs.settings()
    assert ours.predictor.model.describe_parts() == theirs.predictor.model.describe_parts()


def test_a_network_that_takes_more_than_latents_is_refused(tiny_model_config, monkeypatch):
    monkeypatch.setattr("prediction.engine.import_runtime", lambda _: None)
    model = instantiate_from_config(tiny_model_config, "model")
    model.model.diffusion_model.neighbours = 2
    with pytest.raises(UserError, match="takes neighbours or a vector .* leave --engine out"):
        use_onnxruntime(model, {}, "x", 16)
