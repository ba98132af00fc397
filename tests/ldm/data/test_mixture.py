"""Laws of mixtures: exact shares in every batch, each part's own passes, exact resume, one batch for all parts."""

from collections import Counter
from itertools import islice

import pytest
import torch

from commands.errors import UserError
from ldm.data.base import DataModuleFromConfig
from ldm.data.mixture import PERIOD, MixedOrder, Mixture, count_shares
from ldm.util import check_config, check_targets

SIZES, COUNTS = (7, 300, 41), (700, 200, 100)


def part_of(index: int) -> int:
    return (index >= 7) + (index >= 307)


def take(num: int, first: int = 0) -> list[int]:
    order = MixedOrder(SIZES, COUNTS, seed=3)
    return [order(number) for number in range(first, first + num)]


@pytest.fixture
def node(pair_folder):
    """Factory of nodes of two folders of pairs as a mixture."""
    folders = [pair_folder(name=f"part{i}", num_episodes=4 + 4 * i) for i in range(2)]

    def make(weights=(3, 1), sizes=(16, 16), **changes) -> dict:
        parts = {
            name: {
                "weight": weight,
                "target": "ldm.data.frame_pairs.FramePairDataset",
                "params": {"folder": str(folder), "split": "train", "resolution": size},
            }
            for name, weight, folder, size in zip(("robot", "bridge"), weights, folders, sizes, strict=True)
        }
        return {"target": "ldm.data.mixture.Mixture", "params": {"parts": parts | changes}}

    return make


def open_mixture(node: dict) -> Mixture:
    return Mixture(**node["params"])


def test_shares_are_exact_over_a_period_and_nearly_so_in_every_batch():
    for first in (0, 17, 5 * PERIOD + 123):
        assert Counter(map(part_of, take(PERIOD, first))) == dict(enumerate(COUNTS))
        for part, count in Counter(map(part_of, take(64, first))).items():
            assert abs(count - 64 * COUNTS[part] / PERIOD) < 2


def test_each_part_is_shown_once_before_it_comes_again():
    taken = take(3000)
    for part, (size, start) in enumerate(zip(SIZES, (0, 7, 307), strict=True)):
        own = [index for index in taken if part_of(index) == part]
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size]) == list(range(start, start + size))


def test_the_stream_cut_anywhere_goes_on_exactly(node):
    def open_stream(state=None):
        module = DataModuleFromConfig(batch_size=8, seed=1, train=node(), num_workers=0)
        module.setup()
        module.load_state_dict(state or {})
        return module, module.train_dataloader()

    whole = list(islice(open_stream()[1], 9))
    assert all(Counter(batch["part"].tolist()) == {0: 6, 1: 2} for batch in whole)
    module, stream = open_stream()
    list(islice(stream, 4))
    for batch, again in zip(whole[4:], open_stream(module.state_dict())[1], strict=False):
        assert batch["pair_id"] == again["pair_id"] and torch.equal(batch["seed"], again["seed"])


def test_samples_come_from_the_parts_laid_end_to_end(node):
    mixture = open_mixture(node())
    robot, bridge = mixture.parts.values()
    assert len(mixture) == len(robot) + len(bridge) == len(mixture.pairs)
    assert mixture[len(robot) - 1]["pair_id"] == robot[len(robot) - 1]["pair_id"]
    last = mixture[len(mixture) - 1, 5]
    assert (last["part"], last["pair_id"], last["seed"]) == (1, bridge[len(bridge) - 1]["pair_id"], 5)
    assert mixture.shares == {"robot": 0.75, "bridge": 0.25}
    assert open_mixture(node((1, 3))).pair_ids != mixture.pair_ids, "other shares are another stream: no resume"


def test_parts_are_checked_before_anything_is_built(node):
    given = node()
    given["params"]["parts"]["bridge"]["params"]["resolutoin"] = 8
    with pytest.raises(UserError, match=r"train.params.parts.bridge.params: .*did you mean 'resolution'"):
        check_config(given, "train")
    given["params"]["parts"]["bridge"]["target"] = "os.system"
    with pytest.raises(UserError, match="no class of this project"):
        check_targets(given)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sizes": (16, 8)}, r"source_frame is \(3, 16, 16\) float32 in robot, \(3, 8, 8\) float32 in bridge"),
        ({"weights": (1, 0)}, r"parts.bridge.weight: 0; wanted a number above 0"),
        ({"weights": (1, None)}, "bridge.weight: None"),
        ({"weights": (1e5, 1)}, "less than 1/1000 of all"),
        ({"robot": None, "bridge": None}, "there is none"),
        ({"bridge": False}, "parts.bridge: False; wanted a data set with its weight, or null"),
    ],
)
def test_parts_that_do_not_mix_are_one_sentence(node, changes, says):
    with pytest.raises(UserError, match=says):
        open_mixture(node(**changes))


def test_counts_add_up_and_a_null_part_is_left_out(node):
    assert count_shares({"a": 1, "b": 1, "c": 1}) == [334, 333, 333]
    assert list(open_mixture(node(bridge=None)).parts) == ["robot"]
