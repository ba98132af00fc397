"""Laws of the dry run."""

from pathlib import Path

from rich.console import Console

from ldm.config import compose
from ldm.dry_run import describe_run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def said(config, gpus=None, missing=()) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(describe_run(config, gpus, missing))
    return capture.get()


def test_everything_there_is_ready(pair_folder):
    folder = pair_folder()
    overrides = [f"data.params.{split}.params.folder={folder}" for split in ("train", "validation")]
    text = said(compose([CONFIGS / "train.yaml", CONFIGS / "cpu_tiny.yaml"], overrides))
    assert "Ready to train." in text
    assert "10 in" in text, "the training pairs are counted"


def test_each_missing_thing_comes_with_its_command():
    text = said(compose([CONFIGS / "train.yaml"]), [0, 1], ["weights: fetch them so"])
    assert "- weights: fetch them so" in text
    assert "python -m dataset_tools.prepare_dataset" in text
    assert "4 extra input channels" in text and "0.01 M" in text
    assert "GPUs 0, 1" in text and "configs/cpu_tiny.yaml" in text


def test_a_model_without_a_network_or_a_text_encoder_is_described_too():
    """The first stage's own recipe."""
    text = said(compose([CONFIGS / "recipes" / "first_stage_decoder.yaml"]))
    assert "83.65 M" in text and "extra input channels" not in text
