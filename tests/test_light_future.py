"""light_future from its recipes to its paper's tables, at a tiny size: a decoder of its own reaches predictions."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import edit_cli
import main as command
from formats.run_folder import RUN_VARIABLE
from metrics import compute_metrics, paper_tables

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FAST = ("horizon=3", "lightning.callbacks.image_logger=null", "--val_check_interval", "2")


@pytest.fixture
def train(tmp_path, monkeypatch, pair_folder):
    """Runs main.py on a recipe and overlays of configs/tiny; gives the run's folder."""
    data = pair_folder(size=32)

    def call(run, recipe, overlays, *argv):
        monkeypatch.delenv(RUN_VARIABLE, raising=False)
        base = [CONFIGS / "recipes" / f"{recipe}.yaml", *(CONFIGS / "tiny" / f"{name}.yaml" for name in overlays)]
        where = [f"data.params.{split}.params.folder={data}" for split in ("train", "validation")]
        argv = ["--base", *map(str, base), "--folder", str(tmp_path / run), *where, *FAST, "--no-test=true", *argv]
        assert command.main(argv) == 0
        return tmp_path / run

    return call


def first_stage(run):
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("first_stage_model.")}


@pytest.mark.slow
def test_light_future_end_to_end(train, tmp_path, caplog):
    """Decoder, stage 1, stage 2, decoder again, prediction with it, measures, the paper's tables."""
    steps = ("--max_steps", "4")
    start = train("first_stage", "first_stage_decoder", ["first_stage_decoder"], *steps)
    own = f"pretrained.first_stage={start}"
    overlays = ["light_future_stage_1", "own_decoder"]
    stage_1 = train("stage_1", "light_future_stage_1", overlays, own, *steps)
    assert all(torch.equal(value, first_stage(start)[name]) for name, value in first_stage(stage_1).items())
    last = f"pretrained.path={stage_1 / 'checkpoints' / 'last.ckpt'}"
    stage_2 = train("stage_2", "light_future_stage_2", ["light_future_stage_2", "own_decoder"], last, own, *steps)
    decoder = ["model.params.parts=decoder", last, *steps]
    tuned = train("decoder", "first_stage_decoder", ["first_stage_decoder"], *decoder)
    changed = [name for name, value in first_stage(tuned).items() if not torch.equal(value, first_stage(stage_2)[name])]
    assert changed and all(".decoder." in name or ".post_quant_conv." in name for name in changed)

    caplog.clear()
    data, argv = tmp_path / "prepared", ["--split", "test", "--ckpt", str(stage_2), "--steps", "2"]
    for name, flags in (("own", []), ("tuned", ["--first-stage", str(tuned)])):
        output = str(stage_2 / "predictions" / name)
        assert edit_cli.main(["--input", str(data), "--output", output, *argv, *flags]) == 0
        score = ["--data", str(data), "--split", "test", "--predictions", f"{name}={output}", "--no-cache"]
        assert compute_metrics.main([*score, "--size", "32", "--output", str(stage_2 / "metrics" / name)]) == 0
    assert "another encoder" not in caplog.text
    pictures = [sorted((stage_2 / "predictions" / name).rglob("*.png")) for name in ("own", "tuned")]
    pairs = [tuple(Image.open(path).tobytes() for path in two) for two in zip(*pictures, strict=True)]
    assert pairs and any(own != tuned for own, tuned in pairs)
    label = f"stage 2, 10 epochs={stage_2}"
    assert paper_tables.main(["light_future", "--runs", label, "--output", str(tmp_path / "tables")]) == 0
    table = json.loads((stage_2 / "metrics" / "tuned" / "table.json").read_text())
    assert all(line["estimates"]["psnr"]["mean"] > 0 for line in table["lines"])
    assert "Light Future" in (tmp_path / "tables" / "tables.md").read_text()
