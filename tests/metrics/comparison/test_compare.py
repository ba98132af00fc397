import json

import pytest
import torch

from metrics.comparison.compare import compare, pair_line
from metrics.compute_metrics import parse_arguments
from metrics.measures.columns import parse_measures
from metrics.measures.distribution import FEATURE_FILE
from tests.metrics.conftest import moving_square


def run_comparison(*arguments):
    """Compare as the command line does, without a cache."""
    options = parse_arguments([str(argument) for argument in arguments])
    options.measures = parse_measures(options.measures)
    return compare(options, None)


def test_a_lower_bound_an_upper_bound_and_what_lies_between(pair_folder, predict):
    data = pair_folder()
    perfect = predict(data, lambda pair: moving_square(pair.episode % 3 + 7), "perfect")
    still = predict(data, lambda pair: moving_square(pair.episode % 3), "still")
    table = run_comparison("--data", data, "--predictions", still, perfect, "--measures", "psnr,copyness").table
    copy, same, best = table.lines[-3:]
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
    assert table.lines[-1].estimates["fid"].n == 6
    assert table.lines[-1].estimates["fid"].mean == pytest.approx(0.0, abs=1e-3)  # the squares keep their mean
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


def test_pair_lines_are_json_with_infinity_as_text(pair_folder):
    comparison = run_comparison("--data", pair_folder(), "--predictions")
    entry = json.loads(pair_line(comparison.scores[0], comparison.pairs[0]))
    assert entry["row"] == "copy the input" and entry["pair_id"] == comparison.pairs[0].pair_id
    assert (entry["source_index"], entry["target_index"], entry["episode"]) == (0, 50, 0)
