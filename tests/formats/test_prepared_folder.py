"""Laws of the prepared folder: what is written is read; foreign folders are read by InstructPix2Pix's own rules."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.errors import UserError
from formats.prepared_folder import FramePair, read_manifest, write_manifest

words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
names = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/."), min_size=1, max_size=20)
numbers = st.none() | st.integers(0, 10**6)


def make_pair(number: int = 0, **options) -> FramePair:
    return FramePair(f"task/{number}/0-5", f"{number:07d}", f"{number:06d}", "stack blocks", **options)


def make_foreign(folder: Path, count: int, seeds: object = None) -> None:
    """A data set as InstructPix2Pix's authors lay it out: no index.jsonl."""
    for number in range(count):
        sample = folder / f"{number:07d}"
        sample.mkdir(parents=True)
        for end in (0, 1):
            (sample / f"{number:06d}_{end}.jpg").touch()
        (sample / "prompt.json").write_text(json.dumps({"edit": f"sentence {number}", "input": "ignored"}))
    if seeds is not None:
        (folder / "seeds.json").write_text(json.dumps(seeds))


pairs = st.builds(
    FramePair,
    pair_id=names,
    sample=names,
    seed=names,
    instruction=words,
    split=st.sampled_from(["train", "val", "test"]),
    task=st.none() | words,
    episode=numbers,
    source_index=numbers,
    target_index=numbers,
    frames_per_second=st.none() | st.floats(0.1, 100),
    origin=st.none() | words,
)


@settings(max_examples=40)
@given(st.lists(pairs, min_size=1, max_size=8, unique_by=lambda pair: pair.pair_id))
def test_what_is_written_is_read_back_equal(tmp_path_factory, written):
    """Any sentence, in any alphabet, with quotes and line breaks."""
    folder = tmp_path_factory.mktemp("prepared")
    write_manifest(folder, written, {"tool": "test"})
    assert read_manifest(folder) == written
    for split in {pair.split for pair in written}:
        assert read_manifest(folder, split) == [pair for pair in written if pair.split == split]


def test_the_index_comes_last_so_a_folder_that_has_it_is_whole(tmp_path):
    class Unplugged(Exception):
        pass

    def interrupted():
        yield make_pair()
        raise Unplugged

    with pytest.raises(Unplugged):
        write_manifest(tmp_path, interrupted(), {})
    assert not (tmp_path / "index.jsonl").exists()
    write_manifest(tmp_path, [make_pair()], {})
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in ("seeds.json", "dataset.json", "index.jsonl")}
    assert max(times, key=times.get) == "index.jsonl"


def test_seeds_are_grouped_by_sample_as_instruct_pix2pix_has_them(tmp_path):
    several = [FramePair("a", "0000000", "000000", "x"), FramePair("b", "0000000", "000001", "x"), make_pair(1)]
    write_manifest(tmp_path, several, {})
    grouped = json.loads((tmp_path / "seeds.json").read_text())
    assert grouped == [["0000000", ["000000", "000001"]], ["0000001", ["000001"]]]


def test_pictures_stand_where_instruct_pix2pix_looks_and_horizons_follow_from_the_frame_numbers():
    pair = make_pair(7, suffix=".png", source_index=10, target_index=60, frames_per_second=50 / 3)
    pictures = [path(Path("d")) for path in (pair.source_path, pair.target_path)]
    assert pictures == [Path("d/0000007/000007_0.png"), Path("d/0000007/000007_1.png")]
    assert (pair.horizon, pair.horizon_seconds) == (50, 3.0)
    assert make_pair().horizon is None and make_pair(source_index=0, target_index=5).horizon_seconds is None


def test_unknown_keys_of_a_later_version_are_ignored(tmp_path):
    (tmp_path / "index.jsonl").write_text(json.dumps(asdict(make_pair(split="val")) | {"new": 1}) + "\n")
    assert read_manifest(tmp_path) == [make_pair(split="val")]


@pytest.mark.parametrize(
    "seeds",
    [
        None,
        [[f"{n:07d}", [f"{n:06d}"]] for n in range(40)],
        [{"name": f"{n:07d}", "seed": f"{n:06d}"} for n in range(40)],
    ],
)
def test_a_foreign_data_set_is_read_and_split_by_position(tmp_path, seeds):
    """90 / 5 / 5 of the list, as EditDataset cuts it; with or without seeds.json, in both of its forms."""
    make_foreign(tmp_path, 40, seeds)
    assert [len(read_manifest(tmp_path, split)) for split in ("train", "val", "test")] == [36, 2, 2]
    last = read_manifest(tmp_path, "test")[-1]
    assert (last.pair_id, last.instruction, last.episode) == ("0000039/000039", "sentence 39", None)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("index.jsonl", b"{broken\n", "line 1, is not as it should be"),
        ("index.jsonl", b'{"pair_id": "a"}\n', "line 1, .*missing required field `sample`"),
        ("index.jsonl", b"[1, 2]\n", "line 1, .*Expected `object`"),
        ("index.jsonl", b'{"pair_id": "\xff"}\n', "not UTF-8"),
        ("seeds.json", b"[", "is not as it should be"),
        ("seeds.json", b'[["0000000"]]', "Expected `array` of length 2"),
        ("seeds.json", b'[["0000009", ["000009"]]]', "there is no .*prompt.json"),
        ("seeds.json", b'[["../0000000", ["000000"]]]', "no path inside"),
        ("seeds.json", b'[["0000000", ["000000", "000009"]]]', "000009_0.jpg is named by seeds.json but absent"),
        ("0000000/prompt.json", b'{"caption": "x"}', "missing required field `edit`"),
        ("0000000/prompt.json", b'{"edit": ["x"]}', "Expected `str`, got `array`"),
        ("0000000/prompt.json", b'{"edit": "\xff"}', "not UTF-8"),
    ],
)
def test_a_malformed_folder_is_named(tmp_path, name, content, says):
    make_foreign(tmp_path, 1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises((UserError, FileNotFoundError), match=says):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"pair_id": "../VICTIM/photo"}, "pair_id '../VICTIM/photo' is no path inside"),
        ({"pair_id": "/etc/x"}, "no path inside"),
        ({"sample": ""}, "no path inside"),
        ({"sample": "../0000000"}, "no path inside"),
        ({"seed": "a\0"}, "no path inside"),
        ({"pair_id": "x" * 5000}, "no path inside"),
        ({"instruction": None}, "Expected `str`, got `null`"),
        ({"instruction": 7}, "Expected `str`, got `int`"),
        ({"frames_per_second": "3"}, "Expected `float"),
        ({"frames_per_second": float("nan")}, "Expected `float`"),
        ({"source_index": -1}, "Expected `int` >= 0"),
        ({"suffix": "/../../x.jpg"}, "Invalid enum value"),
        ({"split": "all"}, "Invalid enum value"),
    ],
)
def test_values_of_other_types_and_names_that_leave_the_folder_are_refused(tmp_path, values, says):
    (tmp_path / "index.jsonl").write_text(json.dumps(asdict(make_pair()) | values) + "\n")
    with pytest.raises(UserError, match=says):
        read_manifest(tmp_path)


def test_an_absent_or_empty_folder_says_how_to_make_one(tmp_path):
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match="python -m dataset_tools.prepare_dataset"):
            read_manifest(folder)


def test_a_pair_that_stands_twice_and_an_empty_or_unknown_split_are_refused(tmp_path):
    write_manifest(tmp_path, [make_pair(), make_pair()], {})
    with pytest.raises(UserError, match="has the pair task/0/0-5 twice"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, [make_pair(split="train")], {})
    with pytest.raises(ValueError, match="no pairs in split 'val'.*are in train"):
        read_manifest(tmp_path, "val")
    with pytest.raises(ValueError, match="not one of train, val, test"):
        read_manifest(tmp_path, "valid")
