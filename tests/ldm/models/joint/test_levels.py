"""Laws of levels: shares of modes, whole frames or one spatial mask, views singled out; the seed decides."""

from collections import Counter

import pytest
import torch

from ldm.models.joint.levels import GIVEN, MODES, LevelOptions, LevelSampler

NOISIEST, TOKENS = 49, {"head": 16, "left": 4}
EVEN = dict.fromkeys(MODES, 0.2)


def draw(size=400, frames=3, shares=EVEN, first=0, **options):
    sampler = LevelSampler(LevelOptions(shares, **options), [NOISIEST, 20], [NOISIEST, 5], NOISIEST, TOKENS)
    yes = torch.ones(size, dtype=torch.bool)
    there = {camera: torch.ones(size, frames, dtype=torch.bool) for camera in TOKENS}
    return sampler.draw(torch.arange(first, first + size), yes, there, dict.fromkeys(TOKENS, yes))


def test_modes_have_their_shares_and_their_levels():
    levels = draw()
    found = Counter(levels.modes)
    assert all(abs(found[mode] - 80) < 30 for mode in MODES)
    for mode, wanted in (("forward", {GIVEN}), ("video", {NOISIEST}), ("joint", {NOISIEST, 5})):
        assert set(levels.actions[levels.rows(mode)].tolist()) == wanted
    assert set(levels.video["head"][levels.rows("inverse")].flatten().tolist()) == {GIVEN}
    assert levels.given["head"][levels.rows("inverse")].all()
    assert not levels.given["head"][levels.rows("joint", "video", "forward")].any()


def test_temporal_masks_tell_whole_frames_the_first_of_them():
    levels = draw(shares={"video": 1.0}, known=1.0)
    told = levels.given["head"].all(dim=2)
    assert torch.equal(told, levels.given["head"].any(dim=2)), "whole frames"
    assert set(map(tuple, told.tolist())) == {(False,) * 3, (True, False, False), (True, True, False)}
    assert torch.equal(told, levels.video["head"] == GIVEN) and torch.equal(told, levels.given["left"].all(dim=2))


def test_the_spatial_mask_is_one_for_all_frames():
    given = draw(shares={"video": 1.0}, known=1.0, mask="spatial").given["head"]
    assert torch.equal(given[:, 0], given[:, 2]) and 0.0 < given.float().mean() < 0.3
    assert (given.any(dim=2) & ~given.all(dim=2)).any(), "parts of frames"


def test_hidden_is_what_is_noisiest_and_not_told():
    levels = draw(known=0.5, mask="spatial")
    hidden = ~levels.given["head"] & (levels.video["head"] == NOISIEST)[..., None]
    assert torch.equal(levels.hidden["head"], hidden)


def test_views_are_singled_out_but_never_for_acting_alone():
    levels = draw(drop_view=1.0, give_view=1.0)
    shown = torch.stack([levels.shown[camera] for camera in TOKENS], dim=1)
    alone = torch.tensor([mode == "policy" for mode in levels.modes])
    assert shown[alone].all() and (shown[~alone].sum(dim=1) == 1).all()
    rows = levels.rows("video", "joint")
    told = torch.stack([levels.given[camera][rows].flatten(1).all(dim=1) for camera in TOKENS], dim=1)
    assert (told.sum(dim=1) == 1).all() and told.any(dim=0).all()


def test_a_sample_s_levels_are_its_seed_s():
    many, few = draw(known=0.5), draw(size=10, first=30, known=0.5)
    assert few.modes == many.modes[30:40] and torch.equal(few.given["left"], many.given["left"][30:40])


@pytest.mark.parametrize("lacks", ["actions", "future"])
def test_a_sample_teaches_what_it_has(lacks):
    sampler = LevelSampler(LevelOptions({"joint": 1.0}), [NOISIEST], [NOISIEST], NOISIEST, TOKENS)
    yes = torch.ones(5, dtype=torch.bool)
    there = {camera: torch.full((5, 1), lacks != "future") for camera in TOKENS}
    levels = sampler.draw(torch.arange(5), yes if lacks == "future" else ~yes, there, dict.fromkeys(TOKENS, yes))
    assert set(levels.modes) == {"video" if lacks == "actions" else "policy"}
