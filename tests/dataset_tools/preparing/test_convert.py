"""Laws of converting: right pixels, each frame encoded once, nothing half-done counts as done."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.preparing import convert as conversion
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder, pending_parts, stamp_sources
from dataset_tools.preparing.pairing import PairingRule
from dataset_tools.preparing.plan import Options, plan_folder
from formats.pictures import read_picture
from formats.prepared_folder import read_manifest
from tests.dataset_tools.layouts import read_index, square_frames, tree

OPTIONS = Options(PairingRule(horizons=(5,)))


@pytest.fixture
def plan(episode):
    def make(options: Options = OPTIONS, count: int = 2):
        return plan_folder([episode(number=number) for number in range(count)], options, [])

    return make


def convert(plan, folder, options: Options = OPTIONS):
    open_folder(plan, folder)
    for part in plan.parts:
        convert_part(part, folder, options)
    return finish_folder(plan, folder, options)


@pytest.mark.parametrize("options", [OPTIONS, replace(OPTIONS, size=32), replace(OPTIONS, picture_format="png")])
def test_the_pictures_of_a_pair_show_its_two_frames(tmp_path, plan, options):
    convert(plan(options), tmp_path / "out", options)
    pairs = read_manifest(tmp_path / "out")
    assert len(pairs) == 14
    for pair in pairs:
        source, target = (read_picture(path(tmp_path / "out")).pixels for path in (pair.source_path, pair.target_path))
        assert (read_index(source), read_index(target)) == (pair.source_index, pair.target_index)
        assert source.shape == target.shape == ((32, 32, 3) if options.size else (48, 64, 3))


def test_each_frame_is_encoded_once_and_linked(tmp_path, plan, monkeypatch):
    calls = []
    encode = conversion.encode_picture
    monkeypatch.setattr(conversion, "encode_picture", lambda *a: calls.append(1) or encode(*a))
    planned = plan(count=1)
    convert(planned, tmp_path / "out")
    assert len(calls) == 12
    first, last = planned.pairs[0].target_path(tmp_path / "out"), planned.pairs[5].source_path(tmp_path / "out")
    assert os.path.samefile(first, last)


def test_without_hard_links_the_bytes_are_the_same(tmp_path, plan, monkeypatch):
    convert(plan(), tmp_path / "linked")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    convert(plan(), tmp_path / "copied")
    assert tree(tmp_path / "linked") == tree(tmp_path / "copied")


def test_static_pairs_are_dropped_and_counted(tmp_path, episode):
    moving = episode(number=1)
    still = replace(moving, number=0, read_frame=lambda index: square_frames(1)[0])
    options = replace(OPTIONS, drop_static=0.5)
    whole = convert(plan_folder([still, moving], options, []), tmp_path / "out", options)
    assert (whole["dropped_static"], whole["pairs"]) == (7, 7)
    assert {pair.episode for pair in read_manifest(tmp_path / "out")} == {1}
    only_still = plan_folder([still], options, [])
    with pytest.raises(UserError, match="all 7 pairs are static"):
        convert(only_still, tmp_path / "none", options)


def test_what_is_half_done_is_begun_anew(tmp_path, plan):
    planned = plan()
    open_folder(planned, tmp_path / "out")
    convert_part(planned.parts[0], tmp_path / "out", OPTIONS)
    rubbish = tmp_path / "out" / planned.parts[1].pairs[0].sample
    rubbish.mkdir()
    (rubbish / "000007_0.jpg").write_bytes(b"half")
    assert pending_parts(planned, tmp_path / "out") == [planned.parts[1]]
    with pytest.raises(UserError, match="1 of 2 episodes are not converted"):
        finish_folder(planned, tmp_path / "out", OPTIONS)
    convert(planned, tmp_path / "out")
    convert(planned, tmp_path / "direct")
    assert tree(tmp_path / "out") == tree(tmp_path / "direct")


def test_the_folder_says_what_it_holds(tmp_path, plan):
    whole = convert(plan(count=3), tmp_path / "out")
    assert whole["counts"] == {"block_hammer_beat": {"test": 7, "train": 7, "val": 7}}
    assert whole["skipped_without_target"] == 15 and whole["split"] == "episode"
    of_task = {"episodes": 3, "frames": 36, "camera": "head_camera", "save_freq": 50}
    assert whole["sources"] == {"block_hammer_beat": of_task}


def test_the_content_hash_knows_the_pixels(tmp_path, plan):
    planned = plan(count=1)
    base = convert(planned, tmp_path / "a")["content_sha256"]
    other = replace(planned.parts[0].episode, read_frame=lambda index: np.zeros((8, 8, 3), np.uint8))
    changed = replace(planned, parts=(replace(planned.parts[0], episode=other),))
    assert convert(planned, tmp_path / "b")["content_sha256"] == base
    assert convert(changed, tmp_path / "c")["content_sha256"] != base


def test_a_whole_folder_is_not_touched_and_a_foreign_one_is_refused(tmp_path, plan):
    planned = plan()
    convert(planned, tmp_path / "out")
    assert open_folder(planned, tmp_path / "out")
    with pytest.raises(UserError, match="other episodes or options"):
        open_folder(plan(replace(OPTIONS, size=32)), tmp_path / "out")
    open_folder(planned, tmp_path / "begun")
    with pytest.raises(UserError, match="was begun from other"):
        open_folder(plan(count=3), tmp_path / "begun")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="not empty"):
        open_folder(planned, tmp_path / "mine")


def test_episodes_recorded_anew_are_noticed_and_old_folders_stay_valid(tmp_path, plan):
    planned = plan()
    convert(planned, tmp_path / "out")
    open_folder(planned, tmp_path / "begun")
    source = planned.parts[0].episode.source
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1  # the same names and sizes
    source.write_bytes(content)
    for name in ("out", "begun"):
        with pytest.raises(UserError, match="have changed since .* delete it"):
            open_folder(planned, tmp_path / name)
    path = tmp_path / "out" / "dataset.json"
    told = json.loads(path.read_text())
    del told["sources_sha256"]
    path.write_text(json.dumps(told))
    assert open_folder(planned, tmp_path / "out")


def test_frames_of_two_sizes_are_refused(tmp_path, episode):
    odd = replace(episode(), read_frame=lambda index: np.zeros((8 + index // 6, 8, 3), np.uint8))
    planned = plan_folder([odd], OPTIONS, [])
    with pytest.raises(UserError, match="frame 6 of .* is 8x9, others are 8x8"):
        convert(planned, tmp_path / "out")


def test_motion_is_measured_reading_each_frame_once(episode):
    """Chains, several horizons, shared frames: the sweep equals the pair-by-pair definition."""
    moving = episode(length=12)
    options = Options(PairingRule("multi_horizon", (2, 5, 7)))
    pairs = plan_folder([moving], options, []).pairs
    calls = []
    counted = replace(moving, read_frame=lambda index: calls.append(index) or moving.read_frame(index))
    motions = conversion.measure_motions(counted, pairs)
    assert sorted(calls) == list(range(12))
    for pair, motion in zip(pairs, motions, strict=True):
        source, target = (moving.read_frame(i).astype(int) for i in (pair.source_index, pair.target_index))
        assert motion == pytest.approx(np.abs(target - source).mean())


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "episode0"
    place.mkdir()
    for index in range(4):
        (place / f"{index}.pkl").write_bytes(bytes([index]) * 50_000)
    return place


def test_a_copy_elsewhere_and_later_has_the_same_stamp(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "0.pkl").touch()
    assert stamp_sources([folder]) == stamp_sources([tmp_path / "copy"]) == stamp_sources([folder, folder])


def test_other_bytes_names_or_sizes_have_another(folder):
    stamps = [stamp_sources([folder])]
    for position in (0, 25_000, 49_999):
        for name in ("0.pkl", "3.pkl"):
            content = bytearray((folder / name).read_bytes())
            content[position] ^= 1
            (folder / name).write_bytes(content)
            stamps += [stamp_sources([folder]), stamp_sources([folder / name])]
    (folder / "1.pkl").write_bytes(b"shorter")
    stamps.append(stamp_sources([folder]))
    (folder / "3.pkl").unlink()
    stamps.append(stamp_sources([folder]))
    assert len(set(stamps)) == len(stamps)


def test_what_is_no_recording_does_not_count(folder):
    before = stamp_sources([folder])
    for name in (".cache", "begun/.parts", "whole"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.pkl").touch()
    (folder / "begun" / "0_0.jpg").touch()
    (folder / "whole" / "index.jsonl").touch()
    (folder / "notes.txt").touch()
    assert stamp_sources([folder]) == before
    assert stamp_sources([folder / "absent"]) == stamp_sources([])
