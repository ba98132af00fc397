import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from metrics.comparison.pairs import read_pairs
from metrics.comparison.predictions import match_all, match_predictions, parse_named_folder
from tests.metrics.conftest import moving_square, noisy_picture


def _save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy_picture(0)).save(path)


@pytest.mark.parametrize("ending", ["0000001.png", "0000001_pred.jpg", "0000001_000000.png", "0000001/000000.png"])
def test_instruct_pix2pix_sample_names_match(pair_folder, tmp_path, ending):
    pairs = read_pairs(pair_folder())
    _save(tmp_path / "p" / ending)
    predictions = match_predictions(tmp_path / "p", pairs)
    assert list(predictions.files) == [pairs[1].pair_id]
    assert len(predictions.missing) == len(pairs) - 1


def test_pair_ids_match_and_strangers_are_listed(pair_folder, predict):
    """Pictures of other splits are none."""
    folder = pair_folder()
    pairs = read_pairs(folder)
    output = predict(folder, lambda pair: moving_square(7))
    _save(output / "stranger.png")
    predictions = match_predictions(output, pairs)
    assert (predictions.name, predictions.unmatched, predictions.missing) == ("model", ("stranger.png",), ())
    assert match_predictions(output, pairs[:2], others=pairs).unmatched == ("stranger.png",)


def test_bad_folders_are_named(pair_folder, tmp_path):
    pairs = read_pairs(pair_folder())
    with pytest.raises(FileNotFoundError, match="no predictions folder"):
        match_predictions(tmp_path / "absent", pairs)
    (tmp_path / "p").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures in"):
        match_predictions(tmp_path / "p", pairs)
    _save(tmp_path / "p" / "stranger.png")
    with pytest.raises(ValueError, match="none of the 1 pictures .* matches one of the 6 pairs"):
        match_predictions(tmp_path / "p", pairs)
    (tmp_path / "m.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="columns a, b; wanted pair_id"):
        match_predictions(tmp_path / "p", pairs, match_csv=tmp_path / "m.csv")
    (tmp_path / "p" / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="a record without a pair_id"):
        match_predictions(tmp_path / "p", pairs)


def test_the_csv_comes_before_the_records_and_a_named_file_that_is_gone_is_missing(pair_folder, tmp_path):
    pairs = read_pairs(pair_folder())
    for name in ("x.png", "y.png", "z.png", f"{pairs[1].sample}.png"):
        _save(tmp_path / "p" / name)
    files = {pairs[0]: "x.png", pairs[1]: "gone.png", pairs[2]: "z.png"}
    lines = [{"pair_id": pair.pair_id, "file": name, "instruction": "a\u2028b"} for pair, name in files.items()]
    records = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (tmp_path / "p" / "predictions.jsonl").write_text(records, encoding="utf-8")
    (tmp_path / "m.csv").write_text(f"sample,file\n{pairs[0].sample},y.png\n")
    predictions = match_predictions(tmp_path / "p", pairs, match_csv=tmp_path / "m.csv")
    found = {pairs[0].pair_id: "y.png", pairs[2].pair_id: "z.png"}
    assert {key: path.name for key, path in predictions.files.items()} == found
    assert pairs[1].pair_id in predictions.missing


def test_a_csv_of_samples_with_several_seeds_is_refused(pair_folder, tmp_path):
    first, *_ = read_pairs(pair_folder())
    pairs = [first, replace(first, pair_id="second", seed="000001")]
    _save(tmp_path / "p" / "y.png")
    (tmp_path / "m.csv").write_text(f"sample,file\n{first.sample},y.png\n")
    with pytest.raises(ValueError, match="it has several seeds; give the column pair_id"):
        match_predictions(tmp_path / "p", pairs, match_csv=tmp_path / "m.csv")


def test_a_pipe_among_the_pictures_is_passed_over(pair_folder, predict):
    """Opening it would wait for ever."""
    folder = pair_folder(num_episodes=1)
    output = predict(folder, lambda pair: moving_square(7))
    os.mkfifo(output / "pipe.png")
    predictions = match_predictions(output, read_pairs(folder))
    assert len(predictions.files) == 2 and predictions.unmatched == ()
    os.mkfifo(output / "predictions.jsonl")
    with pytest.raises(ValueError, match="no regular file"):
        match_predictions(output, read_pairs(folder))


@pytest.mark.parametrize("name", ["copy the input", "Mean of training targets", "truth", " "])
def test_a_row_may_not_take_a_baselines_name(pair_folder, predict, name):
    folder = pair_folder(num_episodes=1)
    output = predict(folder, lambda pair: moving_square(7))
    with pytest.raises(ValueError, match="a predictions row cannot be called"):
        match_all([f"{name}={output}"], folder, read_pairs(folder))


def test_the_name_stands_before_the_first_equals_sign(tmp_path):
    assert parse_named_folder("a=runs/epoch=2") == ("a", Path("runs/epoch=2"))
    assert parse_named_folder("runs/a") == (None, Path("runs/a"))
    folder = tmp_path / "epoch=2"
    assert parse_named_folder(str(folder)) == (f"{tmp_path}/epoch", Path("2"))
    folder.mkdir()
    assert parse_named_folder(str(folder)) == (None, folder)
