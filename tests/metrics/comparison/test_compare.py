import csv
import json

import pytest
import torch

from metrics.comparison.compare import compare
from metrics.comparison.notes import note_remarks
from metrics.comparison.scoring import PairScore
from metrics.compute_metrics import read_request
from metrics.measures.distribution import FEATURE_FILE
from metrics.reports.comparison_files import make_comparison_grid, write_comparison
from tests.metrics.conftest import moving_square, noisy_picture


def run_comparison(*arguments):
    """Compare as the command line does, without a cache."""
    request, _ = read_request([*map(str, arguments), "--no-cache"])
    return compare(request)


def test_a_lower_bound_an_upper_bound_and_what_lies_between(pair_folder, predict):
    data = pair_folder()
    perfect = predict(data, lambda pair: moving_square(pair.episode % 3 + 7), "perfect")
    still = predict(data, lambda pair: moving_square(pair.episode % 3), "still")
    table = run_comparison("--data", data, "--predictions", still, perfect, "--measures", "psnr,copyness").table
    copy, same, best = table.rows[-3:]
    assert copy.estimates == same.estimates
    assert best.estimates["psnr"].mean == 100.0 and best.estimates["copyness"].mean == 0.0


def test_network_measures_join_the_table(pair_folder, tmp_path):
    class Means(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames.float().mean(dim=[2, 3])

    torch.jit.script(Means()).save(tmp_path / FEATURE_FILE)
    arguments = ("--data", pair_folder(size=40), "--measures", "psnr,kid,lpips_alex_random,fid,lpips_vgg")
    table = run_comparison(*arguments, "--weights", tmp_path).table
    assert table.keys == ("psnr", "kid", "lpips_alex_random", "fid")
    assert table.rows[-1].estimates["fid"].n == 6
    assert table.rows[-1].estimates["fid"].mean == pytest.approx(0.0, abs=1e-3)  # the squares keep their mean
    assert any("LPIPS vgg is left out" in note for note in table.notes)


def test_provenance_says_how_it_was_measured(pair_folder, predict):
    data = pair_folder()
    output = predict(data, lambda pair: moving_square(7))
    lines = [{"pair_id": "block_handover/0/0-50", "seed": 1, "steps": 5}, {"pair_id": "x", "seed": 2, "steps": 5}]
    (output / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    provenance = run_comparison("--data", data, "--predictions", output, "--size", "16").table.provenance
    assert provenance["size"] == 16
    assert provenance["systems"]["model"]["settings"] == {"steps": 5}
    assert provenance["command"].startswith("python -m metrics.compute_metrics --data")


def test_grid_shows_the_median_pair_of_the_last_row(pair_folder, predict):
    """Episode 0 is perfect, 1 slightly wrong, 2 noise: 1 is shown."""
    frames = {0: moving_square(7), 1: moving_square(7), 2: noisy_picture(0)}
    data = pair_folder()
    model = predict(data, lambda pair: frames[pair.episode])
    row_names, columns = make_comparison_grid(run_comparison("--data", data, "--predictions", model))
    assert row_names == ["input", "model", "truth"]
    assert [column.title for column in columns] == ["block hammer beat", "block handover"]
    for column in columns:
        assert column.captions[0] == "episode 1" and column.captions[1].endswith(" dB")
        assert (column.pictures[1] == moving_square(7)).all() and (column.pictures[2] == moving_square(8)).all()


def test_every_file_is_written_whole(pair_folder, tmp_path):
    files = write_comparison(run_comparison("--data", pair_folder()), tmp_path / "o")
    assert sorted(file.name for file in files) == sorted(path.name for path in (tmp_path / "o").iterdir())
    assert {file.suffix for file in files} == {".csv", ".json", ".md", ".jsonl", ".png", ".pdf"}
    with (tmp_path / "o" / "table.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3


def _score(row: str, *remarks: str) -> PairScore:
    return PairScore(row, "p", "g", ("g", 0), {}, remarks)


def test_remarks_are_counted_by_row():
    scores = [_score("a", "greyscale"), _score("a"), _score("b", "greyscale", "16-bit, rounded to 8")]
    assert note_remarks(scores) == [
        "a: 1 of 2 pictures: greyscale.",
        "b: 1 of 1 pictures: 16-bit, rounded to 8.",
        "b: 1 of 1 pictures: greyscale.",
    ]


def test_notes_speak_only_of_what_the_table_has(pair_folder):
    data = pair_folder()
    plain = " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
    assert "motion" not in plain and "As published" not in plain and "own size" in plain
    full = ("--measures", "psnr_motion,ms_ssim,block_error,psnr_as_published", "--size", "16")
    said = " ".join(run_comparison("--data", data, *full).table.notes)
    for words in ("more than 20 of 255", "48.13 dB", "not defined below 176x176", "blocks lost", "16x16 (not resized)"):
        assert words in said


def test_a_leaky_split_is_said_under_every_table(pair_folder):
    """A split by pair puts near-twins of test frames into training; nobody may overlook it."""
    data = pair_folder()
    index = data / "index.jsonl"
    honest = index.read_text()
    entries = [json.loads(line) | {"split_rule": "leaky"} for line in honest.splitlines()]
    assert "LEAKY" not in " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
    index.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert "LEAKY split" in " ".join(run_comparison("--data", data, "--measures", "psnr").table.notes)
