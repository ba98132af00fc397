import json

import pytest
from PIL import Image

from formats.prepared_folder import data_root
from metrics.comparison.pairs import episode_of, group_by_step, group_by_task, parse_episodes, read_pairs
from tests.metrics.conftest import noisy_picture


@pytest.fixture
def public_folder(tmp_path):
    """An InstructPix2Pix data set without index.jsonl, with an index.csv beside it."""
    lines = ["sample,task,episode,src_frame,dst_frame"]
    for i in range(4):
        sample = tmp_path / "pairs" / f"s{i}"
        sample.mkdir(parents=True)
        for ending in "01":
            Image.fromarray(noisy_picture(i)).save(sample / f"000000_{ending}.jpg")
        (sample / "prompt.json").write_text(json.dumps({"edit": "stack blocks"}))
        lines.append(f"s{i},blocks_stack_easy,{i // 2},{50 * (i % 2)},{50 * (i % 2) + 50}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    return tmp_path


def test_prepared_folder_keeps_its_own_index(pair_folder):
    folder = pair_folder()
    assert {group_by_task(pair) for pair in read_pairs(folder)} == {"block_hammer_beat", "block_handover"}
    assert data_root(folder) == folder


def test_index_csv_beside_the_pairs_gives_task_and_episode(public_folder):
    pairs = read_pairs(public_folder)
    assert [episode_of(pair) for pair in pairs] == [("blocks_stack_easy", i // 2) for i in range(4)]
    assert group_by_step(pairs[1]) == "blocks_stack_easy 50->100"
    assert [pair.episode for pair in read_pairs(public_folder, episodes=range(1, 2))] == [1, 1]


def test_without_index_the_instruction_is_the_group_and_the_pair_its_own_episode(public_folder):
    (public_folder / "index.csv").unlink()
    pairs = read_pairs(public_folder)
    assert group_by_task(pairs[0]) == "stack blocks"
    assert len({episode_of(pair) for pair in pairs}) == 4
    with pytest.raises(ValueError, match="no frame numbers; use --group task"):
        group_by_step(pairs[0])
    with pytest.raises(ValueError, match="its episodes are unknown"):
        read_pairs(public_folder, episodes=range(2))


def test_wrong_index_is_named_with_its_sample(public_folder):
    (public_folder / "index.csv").write_text("sample,task,episode\ns0,stack,many\n")
    with pytest.raises(ValueError, match="sample s0: wanted the columns"):
        read_pairs(public_folder)


def test_episode_ranges_include_both_ends():
    assert parse_episodes("64-79") == range(64, 80)
    assert parse_episodes("7") == range(7, 8)
    assert parse_episodes(None) is None
    with pytest.raises(ValueError, match="such as 64-79, got 'x'"):
        parse_episodes("x")
