"""Laws of the data module."""

import pytest
import torch

from commands.errors import UserError
from ldm.data.base import DataModuleFromConfig


def make(folder, num_workers=0, **params):
    def node(split):
        params = {"folder": str(folder), "split": split, "resolution": 16}
        return {"target": "ldm.data.frame_pairs.FramePairDataset", "params": params}

    module = DataModuleFromConfig(
        batch_size=3, seed=1, train=node("train"), validation=node("val"), num_workers=num_workers, **params
    )
    module.setup()
    return module


def first(stream, num):
    return [next(iter(stream))["source_frame"] for _ in range(num)]


def test_workers_do_not_change_the_stream(pair_folder):
    folder = pair_folder()
    alone, helped = first(make(folder).train_dataloader(), 5), first(make(folder, 2).train_dataloader(), 5)
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_saved_position_is_taken_up(pair_folder):
    module = make(pair_folder())
    stream = module.train_dataloader()
    whole = first(make(module.datasets["train"].folder).train_dataloader(), 6)
    first(stream, 4)
    resumed = make(module.datasets["train"].folder)
    resumed.load_state_dict(module.state_dict())
    assert torch.equal(first(resumed.train_dataloader(), 1)[0], whole[4])


def test_validation_pairs_come_in_order(pair_folder):
    module = make(pair_folder())
    names = [name for batch in module.val_dataloader() for name in batch["pair_id"]]
    assert names == [pair.pair_id for pair in module.datasets["validation"].pairs]
    assert module.test_dataloader() == []
    with pytest.raises(UserError, match="at least 1"):
        DataModuleFromConfig(batch_size=0, seed=1)


def test_progressive_resolution_reaches_the_pixels(pair_folder):
    stream = make(pair_folder(), resolutions=[[0, 8], [2, 16]]).train_dataloader()
    assert [batch.shape[-1] for batch in first(stream, 4)] == [8, 8, 16, 16]
