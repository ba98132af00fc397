"""Laws of prepared pairs of published folders: split by episode over all folders, told apart, never opened in vain."""

import json

import numpy as np
import pytest
from PIL import Image

from dataset_tools.prepare_pairs import main
from formats.prepared_folder import read_manifest


@pytest.fixture
def folders(tmp_path):
    """Two folders of the same three episodes; the pictures of episode 2 are none."""
    for name in ("narrow", "wide"):
        lines = ["sample,task,episode,src_frame,dst_frame"]
        for episode in range(3):
            sample = tmp_path / name / "pairs" / f"{name}_{episode}"
            sample.mkdir(parents=True)
            for ending, level in (("0", 10), ("1", 20)):
                frame = np.full((4, 8, 3), level + episode, np.uint8)
                frame[:2] += 4
                Image.fromarray(frame).save(sample / f"000000_{ending}.png")
            (sample / "prompt.json").write_text(json.dumps({"edit": "stack"}))
            if episode == 2:
                (sample / "000000_0.png").write_text("no picture")
            lines.append(f"{name}_{episode},blocks,{episode},0,{50 + episode}")
        (tmp_path / name / "index.csv").write_text("\n".join(lines))
    return [f"={tmp_path / 'narrow'}", f", wide camera={tmp_path / 'wide'}"]


def test_pairs_of_all_folders_are_split_by_episode_and_told_apart(folders, tmp_path, capsys):
    output = tmp_path / "out"
    options = ["--train", "0", "--test", "1", "--size", "2", "--output", str(output)]
    assert main(["--pairs", *folders, *options]) == 0
    assert "2 train, 2 test" in capsys.readouterr().out
    pairs = read_manifest(output)
    assert [(p.episode, p.split) for p in pairs] == [(0, "train"), (1, "test")] * 2
    assert [p.instruction for p in pairs] == ["stack"] * 2 + ["stack, wide camera"] * 2
    assert [p.sample for p in pairs] == ["narrow_0", "narrow_1", "wide_0", "wide_1"], "as predictions are named"
    assert pairs[1].pair_id == "blocks/1/0-51" and pairs[3].pair_id == "blocks/1/0-51/wide"
    assert np.asarray(Image.open(pairs[1].target_path(output))).tolist() == [[[25] * 3] * 2, [[21] * 3] * 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", "0-1", "--test", "1"], "episode 1 is in train and in test"),
        (["--train", "7"], "has no pairs of these episodes"),
    ],
)
def test_what_cannot_be_split_is_said(options, message, folders, tmp_path, capsys):
    assert main(["--pairs", *folders, *options, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_an_absent_or_damaged_index_is_said(folders, tmp_path, capsys):
    ours = ["--pairs", folders[0], "--train", "0", "--output", str(tmp_path / "out")]
    index = tmp_path / "narrow" / "index.csv"
    index.write_text(index.read_text().replace(",0,50", ",zero,50"))
    assert main(ours) == 2 and "sample narrow_0: wanted the columns sample, task" in capsys.readouterr().err
    index.unlink()
    assert main(ours) == 2 and "of the sample narrow_0 are not known; write an index.csv" in capsys.readouterr().err


def test_samples_of_the_same_name_are_refused(folders, tmp_path, capsys):
    ours = ["--pairs", folders[0], f", again{folders[0]}", "--train", "0", "--output", str(tmp_path / "out")]
    assert main(ours) == 2 and "both have a sample narrow_0" in capsys.readouterr().err
