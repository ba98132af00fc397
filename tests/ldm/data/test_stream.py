"""Laws of the training stream."""

import itertools

import pytest
import torch
from torch.utils.data import Dataset

from ldm.data.stream import StreamSampler, TrainingStream, sample_seed


class Keys(Dataset):
    """Returns the key it is asked for."""

    def __len__(self):
        return 10

    def __getitem__(self, key):
        return torch.tensor(key)


def batches(batch_size, rank=0, world_size=1, num=30, position=0):
    sampler = StreamSampler(10, batch_size, seed=5, rank=rank, world_size=world_size)
    sampler.position = position
    return list(itertools.islice(iter(sampler), num))


def test_each_epoch_shows_every_sample_once():
    samples = list(itertools.chain(*batches(1, num=30)))
    for epoch in range(3):
        assert sorted(index for index, _ in samples[10 * epoch : 10 * epoch + 10]) == list(range(10))


def test_samples_do_not_depend_on_batch_size_or_devices():
    """Two devices with batches of 2 see what one device sees with batches of 4 or 1."""
    whole = list(itertools.chain(*batches(4, num=6)))
    assert whole == list(itertools.chain(*batches(1, num=24)))
    first, second = batches(2, 0, 2, num=6), batches(2, 1, 2, num=6)
    assert whole == list(itertools.chain(*(a + b for a, b in zip(first, second, strict=True))))


def test_a_stream_cut_anywhere_goes_on_exactly():
    assert batches(3, num=10, position=7) == batches(3, num=17)[7:]


def test_resuming_with_other_devices_keeps_the_samples():
    stream = TrainingStream(Keys(), StreamSampler(10, 2, 5, 0, 1))
    stream.load_state_dict({"position": 3, "global_batch": 4})
    assert stream.position == 6
    with pytest.raises(ValueError, match="same batch size"):
        TrainingStream(Keys(), StreamSampler(10, 7, 5, 0, 1)).load_state_dict({"position": 3, "global_batch": 4})


def test_seeds_are_distinct():
    assert len({sample_seed(23, number) for number in range(10_000)}) == 10_000


def test_resolution_follows_the_schedule_and_survives_a_cut():
    """Batches 0 and 1 are small, later ones large; the samples are those of a run without a schedule."""

    def keys(position):
        sampler = StreamSampler(10, 2, 5, 0, 1, resolutions=[[0, 64], [2, 128]])
        sampler.position = position
        return list(itertools.islice(iter(sampler), 5 - position))

    whole = keys(0)
    assert [batch[0][2] for batch in whole] == [64, 64, 128, 128, 128]
    assert [[key[:2] for key in batch] for batch in whole] == batches(2, num=5)
    assert keys(1) == whole[1:]


@pytest.mark.parametrize("schedule", [[[5, 64]], [[0, 64], [0, 128]], [[0, 64, 1]]])
def test_a_schedule_that_does_not_rise_from_zero_is_refused(schedule):
    with pytest.raises(ValueError, match="the first of them 0"):
        StreamSampler(10, 2, 5, 0, 1, resolutions=schedule)
