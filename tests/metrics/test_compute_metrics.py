import csv
import json

import pytest
from PIL import Image

import edit_cli
from metrics import baselines
from metrics.comparison.rows import COPY, MEAN, NEAREST
from metrics.compute_metrics import main
from metrics.reports.runs import read_run
from tests.metrics.conftest import moving_square
from tests.tiny_checkpoint import write_tiny_checkpoint


def _rows(output):
    with (output / "table.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_table_has_baselines_and_the_perfect_model(pair_folder, predict, tmp_path, capsys):
    data, train = pair_folder(), pair_folder("train", split="train", first=3)
    output = predict(data, lambda pair: moving_square(pair.episode % 3 + 7))
    arguments = ["--data", data, "--split", "test", "--predictions", output, "--train-data", train, "--output"]
    assert main([str(a) for a in (*arguments, tmp_path / "o")]) == 0
    printed = capsys.readouterr().out
    rows = _rows(tmp_path / "o")
    assert [row["row"] for row in rows[:4]] == [COPY, MEAN, NEAREST, "model"]
    assert {row["group"] for row in rows} == {"block_hammer_beat", "block_handover", "mean"}
    assert rows[3]["psnr"] == "100" and rows[3]["pairs"] == "3"
    assert "copy the input" in printed and "resampling episodes" in printed
    assert len((tmp_path / "o" / "pairs.jsonl").read_text().splitlines()) == 24
    assert Image.open(tmp_path / "o" / "grid.png").width > 100


def test_reconstruction_is_an_upper_bound_beside_the_baselines(
    pair_folder, predict, tmp_path, tiny_model_config, capsys
):
    """By a small KL first stage with random weights, through edit_cli; the best row is chosen without it."""
    data, output = pair_folder(num_episodes=1), tmp_path / "bound"
    model = predict(data, lambda pair: moving_square(6))
    coder = {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 4, "resolution": 16}
    tiny_model_config["params"]["unet_config"]["params"] |= {"in_channels": 8, "out_channels": 4}
    tiny_model_config["params"]["first_stage_config"] = {
        "target": "ldm.models.autoencoder.AutoencoderKL",
        "params": {"ddconfig": coder, "embed_dim": 4},
    }
    checkpoint = write_tiny_checkpoint(tmp_path / "kl", tiny_model_config)
    arguments = ["--input", data, "--ckpt", checkpoint, "--resolution", 16, "--reconstruction", "--output", output]
    assert edit_cli.main([str(a) for a in arguments]) == 0
    arguments = ["--data", data, "--predictions", model, output, "--no-cache", "--output", tmp_path / "o"]
    assert main([str(a) for a in arguments]) == 0
    rows = _rows(tmp_path / "o")
    assert [row["row"] for row in rows[:3]] == [COPY, "reconstruction (upper bound)", "model"]
    assert all(0 < float(row["psnr"]) < 100 for row in rows)
    printed = " ".join(capsys.readouterr().out.split())
    assert "reconstruction (upper bound): the true frames, encoded and decoded" in printed
    assert read_run(str(tmp_path / "o")).results[0].systems == ["model"]
    assert Image.open(tmp_path / "o" / "grid.png").height > Image.open(tmp_path / "o" / "grid.png").width


def test_lossless_reconstruction_is_inf_and_one_and_not_the_best(pair_folder, predict, tmp_path):
    data = pair_folder()
    lossless = predict(data, lambda pair: moving_square(pair.episode % 3 + 7), "lossless")
    model = predict(data, lambda pair: moving_square(6))
    arguments = ["--data", data, "--predictions", f"reconstruction={lossless}", model, "--output", tmp_path / "o"]
    assert main([str(a) for a in arguments]) == 0
    text = (tmp_path / "o" / "table.md").read_text()
    assert text.count("|  | reconstruction (upper bound) | inf | 1.0000 [1.0000–1.0000] | inf | ") == 3
    assert all("**" in line for line in text.splitlines() if line.startswith("|  | model"))


def test_means_file_stands_in_for_training_data(pair_folder, tmp_path):
    data = pair_folder()
    means = str(tmp_path / "m.npz")
    assert baselines.main(["--train-data", str(data), "--train-split", "test", "--output-means", means]) == 0
    assert main(["--data", str(data), "--train-means", means, "--output", str(tmp_path / "o")]) == 0
    assert {row["row"] for row in _rows(tmp_path / "o")} == {COPY, MEAN}


def test_copy_the_input_stands_even_alone_in_both_conventions(pair_folder, tmp_path, capsys):
    assert main(["--data", str(pair_folder()), "--convention", "as_published", "--output", str(tmp_path / "o")]) == 0
    row, *others = _rows(tmp_path / "o")
    assert {row["row"], *(other["row"] for other in others)} == {COPY}
    assert "omits the two training baselines" in " ".join(capsys.readouterr().out.split())
    assert float(row["psnr_as_published"]) - float(row["psnr"]) == pytest.approx(48.13, abs=0.01)
    assert float(row["ssim_as_published"]) > float(row["ssim"])


def test_training_on_the_test_episodes_is_called_a_leak(pair_folder, capsys):
    data = str(pair_folder())
    assert main(["--data", data, "--train-data", data, "--train-split", "all"]) == 0
    assert "LEAK: 6 of the episodes" in " ".join(capsys.readouterr().out.split())


def test_missing_and_strange_pictures_are_listed(pair_folder, predict, tmp_path, capsys):
    data = pair_folder()
    output = predict(data, lambda pair: moving_square(7) if pair.episode else None)
    Image.fromarray(moving_square(0)).save(output / "stranger.png")
    assert main(["--data", str(data), "--predictions", f"ours={output}", "--output", str(tmp_path / "o")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "ours: 4 pairs scored, 2 have no picture: block_hammer_beat/0/0-50, block_handover/0/0-50." in printed
    assert "ours: 1 pictures match no pair: stranger.png." in printed
    assert "2 of 3" in printed
    assert "so it is never marked as the best; on its 4 pairs copy the input scores PSNR" in printed
    table = (tmp_path / "o" / "table.md").read_text()
    assert "**" in table and not any("**" in line for line in table.splitlines() if "| ours |" in line)
    provenance = json.loads((tmp_path / "o" / "table.json").read_text())["provenance"]
    assert provenance["systems"]["ours"]["unmatched"] == ["stranger.png"]


def test_bad_input_is_one_sentence_and_exit_code_2(pair_folder, predict, tmp_path, capsys):
    data = pair_folder()
    small = predict(data, lambda pair: moving_square(0, 32), "small")
    cases = {
        "is 32x32, the true frame 16x16: resize both with --size 16": ["--predictions", str(small)],
        "no predictions folder": ["--predictions", str(tmp_path / "absent")],
        "no pairs in split 'val'": ["--split", "val"],
        "--size 100000: pictures are compared at 1 to 4096 pixels": ["--size", "100000"],
        "--size 0: pictures are compared at 1 to 4096 pixels": ["--size", "0"],
        "--size -5: pictures are compared at 1 to 4096 pixels": ["--size", "-5"],
        "two predictions folders are called 'small'": ["--predictions", str(small), str(small)],
    }
    for message, options in cases.items():
        assert main(["--data", str(data), *options]) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
    assert main(["--data", str(tmp_path / "absent")]) == 2
    assert main(["--data", str(data), "--predictions", str(small), "--size", "16"]) == 0
