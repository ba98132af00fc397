"""Laws of the pair data set; frame numbers are read from the pixels."""

import pytest
import torch

from ldm.data.batch import FrameBatch, FrameSample
from ldm.data.frame_pairs import FramePairDataset, collate, read_pair_picture


def column_of_square(frame):
    """Left edge of the red square in a (3, H, W) frame in [-1, 1]."""
    red = (frame[0] > 0.5) & (frame[1] < -0.5)
    return int(red.any(dim=0).nonzero()[0])


def test_the_target_is_horizon_frames_after_the_source(pair_folder):
    data = FramePairDataset(pair_folder(horizon=3), None, resolution=16)
    for sample, pair in zip((data[i] for i in range(len(data))), data.pairs, strict=True):
        assert column_of_square(sample["source_frame"]) == pair.source_index
        assert column_of_square(sample["target_frame"]) == pair.source_index + 3


def test_pixels_kept_in_memory_are_the_same(pair_folder):
    folder = pair_folder()
    kept = FramePairDataset(folder, "train", 16, keep_in_memory=True)
    kept[0], kept[1]
    for a, b in zip(FramePairDataset(folder, "train", 16), kept, strict=False):
        assert torch.equal(a["source_frame"], b["source_frame"])
        assert torch.equal(a["target_frame"], b["target_frame"])


def test_collate_stacks_what_the_model_takes(pair_folder):
    """With the declared keys, of a sample and of a batch."""
    data = FramePairDataset(pair_folder(), "train", 16)
    batch = collate([data[(0, 2**62 + 1)], data[1]])
    assert batch["source_frame"].shape == (2, 3, 16, 16)
    assert batch["instruction"] == ["move the square"] * 2
    assert batch["seed"].tolist() == [2**62 + 1, 1]
    assert batch["seconds"].tolist() == pytest.approx([pair.horizon_seconds for pair in data.pairs[:2]])
    of_others = {"state", "state_known", "more_state", "more_seconds", "neighbour_frames"}  # see futures, neighbours
    assert set(data[0]) | of_others == set(FrameSample.__annotations__)
    assert set(batch) | of_others == set(FrameBatch.__annotations__)


def test_an_absent_picture_is_said_with_where_it_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png; it is named by the folder's index"):
        read_pair_picture(tmp_path / "absent.png")


@pytest.mark.real_data
def test_a_real_instruct_pix2pix_folder_trains_without_an_index(shared):
    data = FramePairDataset(shared / "data" / "robotwin_pairs" / "pairs", "train", 64)
    assert len(data) == 432 and len(FramePairDataset(data.folder, None, 64)) == 481
    assert data[0]["instruction"] == "beat the block with the hammer"
    assert data[0]["source_frame"].shape == (3, 64, 64)


def test_a_key_may_name_a_resolution(pair_folder):
    data = FramePairDataset(pair_folder(), "train", 16, keep_in_memory=True)
    assert data[(0, 1, 8)]["target_frame"].shape == (3, 8, 8) and data[(0, 1)]["target_frame"].shape == (3, 16, 16)


def test_at_most_so_many_pairs_are_taken_always_the_same(pair_folder):
    folder = pair_folder()
    few = [p.pair_id for p in FramePairDataset(folder, "train", 16, max_samples=4).pairs]
    whole = [p.pair_id for p in FramePairDataset(folder, "train", 16, max_samples=1000).pairs]
    assert len(few) == 4 and few == [name for name in whole if name in few]
    assert few == [p.pair_id for p in FramePairDataset(folder, "train", 16, max_samples=4).pairs]


def test_augmentation_and_the_model_draw_from_streams_of_their_own(pair_folder):
    """The crop must not tell the draw that drops the sentence: a sample's seed makes two generators."""

    class Spy:
        def __call__(self, pixels, instruction, generator):
            self.first = torch.rand((), generator=generator)
            return pixels, instruction

    data = FramePairDataset(pair_folder(), "train", 16)
    data.augmentation = Spy()
    for seed in (0, 1, 2**62 + 1):
        data[(0, seed)]
        assert data.augmentation.first != torch.rand((), generator=torch.Generator().manual_seed(seed))
