"""Laws of paired augmentation."""

import pytest
import torch

from ldm.data.frame_pairs import FramePairDataset
from ldm.data.transforms import PairedAugmentation, change_view, crop_square, swap_sides


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def frames():
    """Twice the same smooth picture."""
    row = torch.linspace(0.2, 0.8, 32)
    picture = torch.stack([row.expand(32, 32), row.expand(32, 32).T, (row[None] + row[:, None]) / 2])
    return torch.stack([picture, picture])


EVERYTHING = {"crop": 0.7, "brightness": 0.2, "flip": 0.5, "view": 0.1, "light": 0.2}


@pytest.mark.parametrize("seed", range(4))
def test_both_frames_get_the_same(frames, seed):
    augmented, _ = PairedAugmentation(**EVERYTHING)(frames, "x", generator(seed))
    assert torch.equal(augmented[0], augmented[1]) and augmented.shape == frames.shape
    assert augmented.min() >= 0.0 and augmented.max() <= 1.0 and not torch.equal(augmented, frames)


def test_a_seed_decides_everything(frames):
    change = PairedAugmentation(**EVERYTHING)
    (a, x), (b, y), (c, _) = (change(frames, "left", generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b) and x == y and not torch.equal(a, c)
    unchanged, sentence = PairedAugmentation()(frames, "left", generator(5))
    assert torch.equal(unchanged, frames) and sentence == "left", "without settings"


def test_sides_swap_in_sentences_and_twice_is_the_identity():
    sentence = "Left hand gives the block to the RIGHT hand, on its right; upright things left alone"
    swapped = swap_sides(sentence)
    assert swapped == "Right hand gives the block to the LEFT hand, on its left; upright things right alone"
    assert swap_sides(swapped) == sentence


def test_a_flip_mirrors_picture_and_sentence(frames):
    augmented, sentence = PairedAugmentation(flip=1.0)(frames, "handover to the left hand", generator())
    assert torch.equal(augmented, frames.flip(-1)) and sentence == "handover to the right hand"


def test_a_flip_happens_as_often_as_asked(frames):
    change = PairedAugmentation(flip=0.1)
    flips = sum(change(frames[..., :2, :2], "left", generator(seed))[1] == "right" for seed in range(1000))
    assert 70 <= flips <= 130


def test_brightness_stays_within_its_bounds():
    """+-20 % of 0.5."""
    grey = torch.full((2, 3, 4, 4), 0.5)
    means = [PairedAugmentation(brightness=0.2)(grey, "", generator(s))[0].mean().item() for s in range(200)]
    assert 0.4 <= min(means) < 0.41 and 0.59 < max(means) <= 0.6


def test_a_whole_crop_is_the_identity_and_a_half_is_that_half(frames):
    torch.testing.assert_close(crop_square(frames, torch.tensor(1.0), torch.zeros(2)), frames, atol=1e-5, rtol=0)
    half = crop_square(frames, torch.tensor(0.5), torch.tensor([0.0, 0.0]))
    assert half[0, 0, 0, 0] == pytest.approx(0.2, abs=1e-4) and half[0, 0, 0, -1] == pytest.approx(0.5, abs=1e-4)


def test_an_unmoved_view_is_the_identity_and_a_moved_one_a_shift(frames):
    torch.testing.assert_close(change_view(frames, torch.zeros(8)), frames, atol=1e-5, rtol=0)
    shifted = change_view(frames, torch.tensor([1.0, 0.0] * 4) / 31)
    torch.testing.assert_close(shifted[..., 1:], frames[..., :-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"flip": 1.5}, {"view": 0.5}, {"brightness": -0.1}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PairedAugmentation(**wrong)


def test_the_data_set_augments_by_the_samples_seed(pair_folder):
    node = {"target": "ldm.data.transforms.PairedAugmentation", "params": EVERYTHING}
    folder = pair_folder()
    data, plain = (FramePairDataset(folder, "train", 16, augmentation_config=n) for n in (node, None))
    one, again, other = data[(0, 7)], data[(0, 7)], data[(0, 8)]
    assert torch.equal(one["source_frame"], again["source_frame"])
    assert not torch.equal(one["source_frame"], other["source_frame"])
    assert not torch.equal(one["source_frame"], plain[(0, 7)]["source_frame"])
