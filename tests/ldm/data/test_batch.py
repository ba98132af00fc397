"""The batch contract is what the collate function makes."""

from ldm.data.batch import FrameBatch, FrameSample
from ldm.data.frame_pairs import FramePairDataset, collate


def test_samples_and_batches_have_the_declared_keys(pair_folder):
    data = FramePairDataset(pair_folder(), "train", 16)
    assert set(data[0]) == set(FrameSample.__annotations__)
    assert set(collate([data[0]])) == set(FrameBatch.__annotations__)
