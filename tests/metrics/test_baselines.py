import io
from zipfile import ZipFile

import numpy as np
import pytest

from metrics.baselines import main
from metrics.comparison.baselines import TrainingSet, average_targets, read_means, write_means
from metrics.comparison.pairs import read_pairs


def test_means_survive_their_file(pair_folder, tmp_path):
    folder = pair_folder()
    means = average_targets(TrainingSet(folder, tuple(read_pairs(folder)), 8))
    write_means(tmp_path / "means.npz", means)
    again = read_means(tmp_path / "means.npz")
    assert all((again[group] == picture).all() for group, picture in means.items())
    whole = (tmp_path / "means.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    middle = len(whole) // 4
    damaged = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 40]) + whole[middle + 40 :]
    for content in (b"no archive", b"", whole[:-30], damaged, (tmp_path / "array.npy").read_bytes()):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match="holds no mean pictures"):
            read_means(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 4), "|u1"), ((4, 4, 3), "<f8"), ((10**6, 10**6, 3), "|u1"), ((0, 4, 3), "|u1")]
)
def test_means_of_another_shape_are_refused_by_their_head(tmp_path, shape, dtype):
    """A file of some hundred bytes may declare terabytes."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    with ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("a.npy", head.getvalue() + bytes(48))
    with pytest.raises(ValueError, match=r"a\.npy is .* instead of uint8 \(H, W, 3\)"):
        read_means(tmp_path / "bomb.npz")


def test_command_writes_predictions_folders_and_means(pair_folder, tmp_path, capsys):
    data, train = pair_folder(), pair_folder("train", split="train", first=3)
    options = ["--train-data", str(train), "--size", "16", "--output-means", str(tmp_path / "m.npz")]
    assert main([*options, "--data", str(data), "--output", str(tmp_path / "b")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for name in ("copy_the_input", "mean_of_training_targets", "target_of_the_nearest_training_input"):
        assert len(list((tmp_path / "b" / name).rglob("*.png"))) == 6
    assert read_means(tmp_path / "m.npz")["block_handover"].shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--size 8", "nothing to do"),
        ("--data absent --output o", "no folder absent"),
        ("--output o", "--output needs --data"),
        ("--data absent --output o --output-means m.npz", "--output-means needs --train-data"),
    ],
)
def test_bad_input_is_one_sentence(options, said, capsys):
    assert main(options.split()) == 2
    assert said in capsys.readouterr().err
