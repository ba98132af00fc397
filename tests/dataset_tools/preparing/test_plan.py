"""Laws of the plan of a prepared folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.errors import UserError
from dataset_tools.episode import Episode
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, describe, plan_folder
from dataset_tools.preparing.splits import SplitRule

OPTIONS = Options(PairingRule(horizons=(5,)))
FAR = Path("/data")


def make_episode(number: int, length: int = 12, task: str = "stack", **options) -> Episode:
    return Episode(task, number, length, FAR / task / f"episode{number}", len, save_freq=50, **options)


def plan(episodes, options: Options = OPTIONS):
    return plan_folder(episodes, options, [FAR])


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 300), st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 12))
def test_every_pair_has_a_number_of_its_own_and_no_episode_is_in_two_splits(lengths, horizon):
    episodes = [make_episode(number, length) for number, length in sorted(lengths.items())]
    options = Options(PairingRule(horizons=(horizon,)))
    if max(lengths.values()) <= horizon:
        with pytest.raises(UserError, match="no pair fits"):
            plan(episodes, options)
        return
    planned = plan(episodes, options)
    assert [pair.sample for pair in planned.pairs] == [f"{i:07d}" for i in range(len(planned.pairs))]
    assert len({pair.pair_id for pair in planned.pairs}) == len(planned.pairs)
    assert len(planned.pairs) == sum(max(0, length - horizon) for length in lengths.values())
    assert planned.skipped == sum(min(length, horizon) for length in lengths.values())
    splits = {pair.episode: set() for pair in planned.pairs}
    for pair in planned.pairs:
        splits[pair.episode].add(pair.split)
    assert all(len(names) == 1 for names in splits.values())


def test_adding_episodes_moves_none_to_another_split():
    few = {pair.pair_id: pair.split for pair in plan([make_episode(number) for number in range(0, 50, 3)]).pairs}
    many = {pair.pair_id: pair.split for pair in plan([make_episode(number) for number in range(50)]).pairs}
    assert few.items() <= many.items()


def test_a_pair_tells_where_it_came_from_wherever_the_data_stand():
    pair = plan([make_episode(3)]).pairs[0]
    assert pair.pair_id == "stack/3/0-5"
    assert (pair.task, pair.episode, pair.source_index, pair.target_index) == ("stack", 3, 0, 5)
    assert (pair.seed, pair.suffix, pair.origin) == ("000000", ".jpg", "stack/episode3")
    assert (pair.horizon, pair.horizon_seconds) == (5, 1.0)
    episode = replace(make_episode(3), source=Path("/elsewhere/stack/episode3"))
    assert plan_folder([episode], OPTIONS, [Path("/elsewhere")]).pairs[0].origin == pair.origin


def test_a_limit_takes_training_pairs_only_and_keeps_those_it_had():
    episodes = [make_episode(number) for number in range(20)]

    def train(limit: int | None) -> set[str]:
        pairs = plan(episodes, replace(OPTIONS, max_train_samples=limit)).pairs
        held_out.append({pair.pair_id for pair in pairs if pair.split != "train"})
        return {pair.pair_id for pair in pairs if pair.split == "train"}

    held_out: list[set[str]] = []
    assert len(train(30)) == 30 and train(30) < train(50) < train(None)
    assert all(names == held_out[0] for names in held_out)


def test_the_fingerprint_knows_episodes_and_options_and_those_are_plain_values():
    episodes = [make_episode(number) for number in range(4)]
    options = replace(OPTIONS, split=SplitRule(test=0.0, holdout=frozenset({9, 8})))
    assert json.loads(json.dumps(describe(options)))["split"]["holdout"] == [8, 9]
    base = plan(episodes).fingerprint
    assert plan(episodes).fingerprint == base
    others = [
        plan(episodes[:3]),
        plan([*episodes[:3], make_episode(3, length=13)]),
        plan(episodes, replace(OPTIONS, size=64)),
        plan(episodes, replace(OPTIONS, split=SplitRule(val=0.2))),
        plan([replace(episode, camera="front") for episode in episodes]),
    ]
    assert base not in {other.fingerprint for other in others}


def test_missing_splits_are_said_aloud(caplog):
    plan([make_episode(0), make_episode(3)])
    assert "stack has no pairs in test and val" in caplog.text


@pytest.mark.parametrize("wrong", [{"picture_format": "gif"}, {"size": 2}, {"quality": 0}])
def test_senseless_options_are_refused(wrong):
    with pytest.raises(ValueError):
        replace(OPTIONS, **wrong)
