"""Laws of the synthetic pairs and of reading them."""

import pytest
import torch
from PIL import Image

from benchmark.training_data import Bench, write_pairs
from benchmark.training_steps import SIZES
from formats.prepared_folder import read_manifest

CPU = torch.device("cpu")


def test_pairs_are_jpeg_pictures_of_a_prepared_folder_and_are_written_once(tmp_path):
    folder = write_pairs(tmp_path / "pairs", 3, 32)
    pairs = read_manifest(folder, "train")
    assert len(pairs) == 3
    with Image.open(pairs[0].target_path(folder)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 32))
    before = (folder / "index.jsonl").stat().st_mtime_ns
    assert write_pairs(folder, 5, 32) == folder and (folder / "index.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("rows", [range(2), [1, 0, 1]])
def test_a_batch_is_read_by_its_rows(tmp_path, rows):
    from ldm.util import instantiate_from_config

    bench = Bench(SIZES["tiny"], CPU, tmp_path, num_pairs=2)
    batch = bench.read(instantiate_from_config(bench.node, "data"), rows)
    assert batch["seed"].tolist() == list(rows) and batch["source_frame"].shape == (len(rows), 3, 32, 32)
