import numpy as np
import pytest

from metrics.baselines import CopyInput, main, make_nearest, make_train_mean, read_means, write_means
from metrics.pairs import read_pairs
from metrics.picture import read_pixels
from tests.metrics.conftest import moving_square


def test_copy_predicts_the_current_frame():
    frame = moving_square(2)
    assert CopyInput().predict_frame(None, frame) is frame


def test_mean_is_the_rounded_average_of_the_groups_targets(pair_folder):
    folder = pair_folder(num_episodes=2)
    pairs = read_pairs(folder)
    targets = [moving_square(7).astype(int), moving_square(8).astype(int)]
    mean = make_train_mean(folder, pairs, None).predict_frame(pairs[0], moving_square(0))
    assert (mean == np.rint(sum(targets) / 2)).all()


def test_nearest_finds_the_training_pair_with_the_same_input(pair_folder):
    folder = pair_folder(num_episodes=3)
    pairs = read_pairs(folder)
    nearest = make_nearest(folder, pairs, None)
    for pair in pairs:
        source = read_pixels(pair.source_path(folder))
        assert nearest.nearest_pair(pair, source) == pair
        assert (nearest.predict_frame(pair, source) == read_pixels(pair.target_path(folder))).all()


def test_untrained_group_is_not_predicted(pair_folder):
    folder = pair_folder()
    pairs = read_pairs(folder)
    of_one_task = [pair for pair in pairs if pair.task == "block_handover"]
    for baseline in (make_train_mean(folder, of_one_task, None), make_nearest(folder, of_one_task, None)):
        assert baseline.predict_frame(pairs[0], moving_square(0)) is None


def test_means_survive_their_file_and_know_their_size(pair_folder, tmp_path):
    folder = pair_folder()
    pairs = read_pairs(folder)
    mean = make_train_mean(folder, pairs, 8)
    write_means(tmp_path / "means.npz", mean)
    again = read_means(tmp_path / "means.npz")
    assert all((again.means[group] == picture).all() for group, picture in mean.means.items())
    with pytest.raises(ValueError, match="8x8, the frames 16x16"):
        again.predict_frame(pairs[0], moving_square(0))
    (tmp_path / "bad.npz").write_text("no archive")
    with pytest.raises(ValueError, match="holds no mean pictures"):
        read_means(tmp_path / "bad.npz")


def test_command_writes_predictions_folders_and_means(pair_folder, tmp_path, capsys):
    data, train = pair_folder(), pair_folder("train", split="train", first=3)
    options = ["--train-data", str(train), "--size", "16", "--output-means", str(tmp_path / "m.npz")]
    assert main([*options, "--data", str(data), "--output", str(tmp_path / "b")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for name in ("copy_the_input", "mean_of_training_targets", "target_of_the_nearest_training_input"):
        assert len(list((tmp_path / "b" / name).rglob("*.png"))) == 6
    assert read_means(tmp_path / "m.npz").means["block_handover"].shape == (16, 16, 3)


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert main(["--size", "8"]) == 2
    assert main(["--data", str(tmp_path / "absent"), "--output", str(tmp_path / "o")]) == 2
    assert "nothing to do" in capsys.readouterr().err
