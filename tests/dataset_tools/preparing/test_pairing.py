"""Laws of pairing, for any length and horizon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_tools.preparing.pairing import PairIndex, PairingRule, horizon_frames, make_pairs

lengths = st.integers(1, 400)
horizons = st.integers(1, 120)
strides = st.integers(1, 30)


def pairs_of(rule: PairingRule, length: int, number: int = 0, rate: float | None = None):
    return make_pairs(rule, length, task="task", number=number, frames_per_second=rate)


@given(lengths, horizons, strides)
def test_fixed_pairs_are_exactly_the_sources_whose_target_exists(length, horizon, stride):
    pairs = pairs_of(PairingRule(horizons=(horizon,), stride=stride), length)
    assert pairs.found == tuple(PairIndex(i, i + horizon) for i in range(0, length, stride) if i + horizon < length)
    assert len(pairs.found) + pairs.skipped == len(range(0, length, stride))


@given(lengths, horizons)
def test_a_chain_leads_from_frame_0_without_a_gap(length, horizon):
    pairs = pairs_of(PairingRule("chained", (horizon,)), length).found
    frames = [0, *(pair.target_index for pair in pairs)]
    assert frames == list(range(0, length, horizon))
    assert all(pair.source_index == frames[k] for k, pair in enumerate(pairs))


@given(lengths, st.lists(horizons, min_size=1, max_size=4), strides)
def test_several_horizons_are_the_union_of_each(length, several, stride):
    together = pairs_of(PairingRule("multi_horizon", tuple(several), stride=stride), length).found
    apart = {p for h in several for p in pairs_of(PairingRule(horizons=(h,), stride=stride), length).found}
    assert set(together) == apart and len(together) == len(apart)


@given(lengths, st.integers(1, 80), st.integers(1, 5), st.integers(0, 9))
def test_first_last_draws_source_and_target_from_the_two_ends(length, window, count, seed):
    rule = PairingRule("first_last", window=window, pairs_per_episode=count, seed=seed)
    pairs = pairs_of(rule, length)
    for pair in pairs.found:
        assert 0 <= pair.source_index < min(window, length)
        assert max(pair.source_index + 1, length - window) <= pair.target_index < length
    assert pairs == pairs_of(rule, length)
    assert bool(pairs.found) == (length > 1)


def test_first_last_reaches_every_frame_of_both_ends():
    rule = PairingRule("first_last", window=5)
    drawn = [pairs_of(rule, 20, number).found[0] for number in range(200)]
    assert {pair.source_index for pair in drawn} == set(range(5))
    assert {pair.target_index for pair in drawn} == set(range(15, 20))


def test_seconds_become_frames_by_the_rate_of_the_episode():
    """RoboTwin at save_freq 15: 3 s are 50 frames; at save_freq 50: 10 s are 50 frames."""
    assert horizon_frames(3.0, 250 / 15, where="x") == 50
    assert horizon_frames(10.0, 250 / 50, where="x") == 50
    assert pairs_of(PairingRule(horizons_seconds=(3.0,)), 60, rate=250 / 15).found[0] == PairIndex(0, 50)


def test_seconds_without_a_rate_are_refused_with_the_mend():
    with pytest.raises(ValueError, match="--save-freq"):
        pairs_of(PairingRule(horizons_seconds=(3.0,)), 60)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "random"}, "not one of"),
        ({"horizons": ()}, "wants a horizon"),
        ({"horizons": (5,), "horizons_seconds": (1.0,)}, "in frames or in seconds"),
        ({"horizons": (5, 10)}, "multi_horizon"),
        ({"horizons": (-5,)}, "must be positive"),
        ({"horizons": (5,), "stride": 0}, "at least 1"),
        ({"kind": "first_last", "horizons": (5,)}, "--window"),
    ],
)
def test_a_senseless_rule_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        PairingRule(**wrong)
