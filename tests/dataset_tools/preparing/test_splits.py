"""Laws of splitting, for any task and any fractions."""

import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_tools.preparing.splits import SplitRule, missing_splits, parse_numbers, split_of_episode, split_of_pair

tasks = st.text(min_size=1, max_size=12)
fractions = st.floats(0.05, 0.2)
ALL = {"train", "val", "test"}


def splits_of(rule: SplitRule, task: str, numbers) -> list[str]:
    return [split_of_episode(rule, task, number) for number in numbers]


@given(tasks, fractions, fractions, st.integers(3, 60))
def test_every_task_with_episodes_0_1_2_is_in_every_split(task, val, test, count):
    assert set(splits_of(SplitRule(val, test), task, range(count))) == ALL


@given(tasks, st.integers(0, 10**6))
def test_any_21_consecutive_episodes_are_in_every_split(task, start):
    """At 10% each; golden-ratio steps return to an interval of length 0.1 after 5, 8 or 13."""
    assert set(splits_of(SplitRule(), task, range(start, start + 21))) == ALL


@settings(max_examples=20)
@given(tasks, fractions, fractions)
def test_fractions_are_met_closely(task, val, test):
    splits = splits_of(SplitRule(val, test), task, range(1000))
    assert abs(splits.count("val") - 1000 * val) < 10
    assert abs(splits.count("test") - 1000 * test) < 10


def test_tasks_hold_out_different_episodes():
    rule = SplitRule()
    chosen = {tuple(splits_of(rule, task, range(100))) for task in ("a", "b", "c", "d", "e")}
    assert len(chosen) > 1


@given(tasks, st.frozensets(st.integers(0, 99), max_size=20), st.integers(0, 99))
def test_held_out_episodes_are_test_and_with_a_test_fraction_of_0_no_others(task, holdout, number):
    split = split_of_episode(SplitRule(test=0.0, holdout=holdout), task, number)
    assert (split == "test") == (number in holdout)


@given(tasks, st.integers(0, 10**9))
def test_fractions_of_0_and_1_are_exact(task, number):
    assert split_of_episode(SplitRule(0, 0), task, number) == "train"
    assert split_of_episode(SplitRule(0, 1), task, number) == "test"
    assert split_of_episode(SplitRule(1, 0), task, number) == "val"


def test_the_leaky_split_divides_an_episode_and_the_other_does_not():
    names = [f"task/3/{frame}-{frame + 50}" for frame in range(300)]
    leaky = {split_of_pair(SplitRule(kind="leaky"), "task", 3, name) for name in names}
    honest = {split_of_pair(SplitRule(), "task", 3, name) for name in names}
    assert leaky == ALL and len(honest) == 1


def test_a_task_that_lacks_a_split_is_named():
    pairs = [("a", "train"), ("a", "val"), ("a", "test"), ("b", "train")]
    assert missing_splits(SplitRule(), pairs) == {"b": ["test", "val"]}
    assert missing_splits(SplitRule(val=0, test=0), pairs) == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"val": -0.1}, "add up to at most 1"),
        ({"val": 0.6, "test": 0.5}, "add up to at most 1"),
        ({"kind": "random"}, "random"),
        ({"kind": "leaky", "holdout": frozenset({3})}, "--holdout"),
    ],
)
def test_a_senseless_rule_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        SplitRule(**wrong)


@given(st.frozensets(st.integers(0, 200), min_size=1))
def test_lists_of_numbers_read_back(numbers):
    assert parse_numbers(",".join(map(str, numbers))) == numbers
    assert parse_numbers("3, 7,80-82") == {3, 7, 80, 81, 82}


@pytest.mark.parametrize("text", ["", "a", "5-3", "1-", "-4", "1;2"])
def test_a_malformed_list_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="80-99"):
        parse_numbers(text)
