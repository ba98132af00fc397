"""Laws of the Hugging Face export: the `datasets` package and diffusers' script find what they look for."""

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.export_hub import main
from dataset_tools.writers import hub
from dataset_tools.writers.hub import export_folder, push_folder
from formats.pictures import read_picture
from formats.prepared_folder import read_manifest
from tests.dataset_tools.layouts import read_index


@pytest.fixture
def folder(prepared):
    return prepared("--horizon", "5", count=3)


@pytest.mark.reference
def test_the_datasets_package_reads_splits_pictures_and_numbers(tmp_path, folder):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    assert main([str(folder), "--output", str(tmp_path / "hub")]) == 0
    loaded = datasets.load_dataset(str(tmp_path / "hub"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 7, "validation": 7, "test": 7}
    for pair, row in zip(read_manifest(folder, "val"), loaded["validation"], strict=True):
        assert row["pair_id"] == pair.pair_id and row["edit_prompt"] == pair.instruction
        assert (row["source_frame"], row["target_frame"]) == (pair.source_index, pair.target_index)
        assert read_index(np.asarray(row["original_image"])) == pair.source_index
        assert np.array_equal(np.asarray(row["edited_image"]), read_picture(pair.target_path(folder)).pixels)


def test_the_columns_are_those_of_diffusers_script(tmp_path, folder):
    """train_instruct_pix2pix.py: --original_image_column, --edit_prompt_column, --edited_image_column."""
    import pyarrow.parquet as pq

    export_folder(folder, tmp_path / "hub")
    names = pq.read_schema(tmp_path / "hub/data/train-00000-of-00001.parquet").names
    assert names[:3] == ["original_image", "edit_prompt", "edited_image"]


def test_large_sets_are_cut_into_several_files(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(hub, "FILE_BYTES", 9000)
    export_folder(folder, tmp_path / "hub")
    files = sorted(path.name for path in (tmp_path / "hub" / "data").glob("train-*"))
    assert len(files) > 1 and files[-1] == f"train-{len(files) - 1:05d}-of-{len(files):05d}.parquet"


def test_the_card_warns_of_a_leaky_split(tmp_path, prepared):
    export_folder(prepared("--horizon", "2", "--split", "leaky", count=3), tmp_path / "hub")
    assert "Split by pair, not by episode" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize("kind", [OSError, type("ConnectError", (Exception,), {})])
def test_a_push_that_fails_says_that_the_folder_is_whole(tmp_path, monkeypatch, kind):
    """No network here: the client raises its HTTP library's own class, and the user learns what is left to do."""
    import huggingface_hub

    def refuse(*_, **__):
        raise kind("We have no connection\nsecond line")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    command = f"hf upload me/frames {tmp_path} . --repo-type dataset"
    with pytest.raises(UserError, match=f"We have no connection.*hf auth login.*is whole.*: {command} --private$"):
        push_folder(tmp_path, "me/frames", private=True)
    with pytest.raises(UserError, match=f"{command}$"):
        push_folder(tmp_path, "me/frames", private=False)


def test_a_push_uploads_the_folder_as_a_data_set(tmp_path, monkeypatch):
    import huggingface_hub

    calls = []
    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda self, repo, **given: calls.append(given) or "address"
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **given: calls.append(given))
    assert push_folder(tmp_path, "me/frames", private=True) == "address"
    assert calls[0]["private"] and calls[1] == {"folder_path": tmp_path, "repo_id": "me/frames", "repo_type": "dataset"}
