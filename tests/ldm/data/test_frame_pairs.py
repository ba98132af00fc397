"""Laws of the pair data set; frame numbers are read from the pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.data.frame_pairs import FramePairDataset, collate, read_picture


def column_of_square(frame):
    """Left edge of the red square in a (3, H, W) frame in [-1, 1]."""
    red = (frame[0] > 0.5) & (frame[1] < -0.5)
    return int(red.any(dim=0).nonzero()[0])


def test_the_target_is_horizon_frames_after_the_source(pair_folder):
    data = FramePairDataset(pair_folder(horizon=3), None, resolution=16)
    for sample, pair in zip((data[i] for i in range(len(data))), data.pairs, strict=True):
        assert column_of_square(sample["source_frame"]) == pair.source_index
        assert column_of_square(sample["target_frame"]) == pair.source_index + 3


def test_red_stays_red(pair_folder):
    frame = FramePairDataset(pair_folder(), "train", resolution=16)[0]["source_frame"]
    column = column_of_square(frame)
    torch.testing.assert_close(frame[:, 5, column], torch.tensor([1.0, -1.0, -1.0]))


def test_pixels_kept_in_memory_are_the_same(pair_folder):
    folder = pair_folder()
    kept = FramePairDataset(folder, "train", 16, keep_in_memory=True)
    kept[0], kept[1]
    for a, b in zip(FramePairDataset(folder, "train", 16), kept, strict=False):
        assert torch.equal(a["source_frame"], b["source_frame"])
        assert torch.equal(a["target_frame"], b["target_frame"])


def test_no_episode_is_in_two_splits(pair_folder):
    folder = pair_folder()
    episodes = [{p.episode for p in FramePairDataset(folder, split, 16).pairs} for split in ("train", "val", "test")]
    assert not episodes[0] & episodes[1] and not episodes[0] & episodes[2] and not episodes[1] & episodes[2]


def test_collate_stacks_what_the_model_takes(pair_folder):
    data = FramePairDataset(pair_folder(), "train", 16)
    batch = collate([data[(0, 2**62 + 1)], data[1]])
    assert batch["source_frame"].shape == (2, 3, 16, 16)
    assert batch["instruction"] == ["move the square"] * 2
    assert batch["seed"].tolist() == [2**62 + 1, 1]


def test_pictures_of_any_mode_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "RGB"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (20, 10)).save(path)
        pixels = read_picture(path, 8)
        assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="text.png is not a readable picture"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="absent.png"):
        read_picture(tmp_path / "absent.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="not a readable picture"):
        read_picture(tmp_path / "cut.png")


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
