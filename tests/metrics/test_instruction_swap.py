import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from formats.prepared_folder import read_manifest
from metrics.comparison.pairs import read_pairs
from metrics.comparison.predictions import match_predictions
from metrics.instruction_swap import check_same_noise, main, swap_instructions
from tests.metrics.conftest import moving_square


def _predict_by_sentence(data, output, seed=0):
    """A model that reads: it moves the square only for the handover sentence."""
    lines = []
    for pair in read_manifest(data):
        reads = pair.instruction == "do block_handover"
        path = output / f"{pair.pair_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moving_square(pair.episode % 3 + (7 if reads else 0))).save(path)
        name = f"{pair.pair_id}.png"
        lines.append({"pair_id": pair.pair_id, "file": name, "seed": seed, "instruction": pair.instruction})
    (output / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return output


def test_every_pair_gets_the_sentence_of_another_task(pair_folder):
    pairs = read_pairs(pair_folder())
    swapped = swap_instructions(pairs)
    assert [pair.pair_id for pair in swapped] == [pair.pair_id for pair in pairs]
    assert {(p.task, p.instruction) for p in swapped} == {
        ("block_hammer_beat", "do block_handover"),
        ("block_handover", "do block_hammer_beat"),
    }
    with pytest.raises(ValueError, match="one task only"):
        swap_instructions([pair for pair in pairs if pair.task == "block_handover"])


def test_the_right_sentence_gains_where_the_model_understands_it(pair_folder, tmp_path, capsys):
    """Handover is predicted right with its own sentence; the hammer sentence makes nothing move."""
    data = pair_folder()
    assert main(["--data", str(data), "--swapped-data", str(tmp_path / "swapped")]) == 0
    right = _predict_by_sentence(data, tmp_path / "right")
    swapped = _predict_by_sentence(tmp_path / "swapped", tmp_path / "other")
    arguments = ["--data", data, "--predictions", f"model={right}", "--swapped", swapped, "--output", tmp_path / "o"]
    assert main([str(argument) for argument in arguments]) == 0
    lines = {
        line["group"]: line["estimates"] for line in json.loads((tmp_path / "o" / "swap.json").read_text())["lines"]
    }
    assert lines["block_handover"]["swap_better"]["mean"] == 1.0
    assert lines["block_handover"]["swap_gain"]["mean"] > 0.0 > lines["block_hammer_beat"]["swap_gain"]["mean"]
    expected = np.abs(moving_square(0).astype(int) - moving_square(7)).mean()
    assert lines["mean"]["swap_change"]["mean"] == pytest.approx(expected)
    assert "swapped sentence" in " ".join(capsys.readouterr().out.split())


def test_a_model_that_does_not_read_does_not_change(pair_folder, predict, tmp_path):
    data = pair_folder()
    same = [str(predict(data, lambda pair: moving_square(7), name)) for name in ("a", "b")]
    arguments = ["--data", str(data), "--predictions", same[0], "--swapped", same[1], "--output", str(tmp_path / "o")]
    assert main(arguments) == 0
    mean = json.loads((tmp_path / "o" / "swap.json").read_text())["lines"][-1]["estimates"]
    assert mean["swap_change"]["mean"] == mean["swap_gain"]["mean"] == mean["swap_better"]["mean"] == 0.0


def test_two_folders_that_differ_in_more_than_the_sentence_are_refused(pair_folder, tmp_path):
    data = pair_folder()
    pairs, seeds = read_pairs(data), {"a": 0, "b": 0, "c": 1}
    folders = {name: _predict_by_sentence(data, tmp_path / name, seed) for name, seed in seeds.items()}
    a, b, c = (match_predictions(folder, pairs) for folder in folders.values())

    def with_values(**values):
        return replace(b, records={pair_id: record | values for pair_id, record in b.records.items()})

    for other, message in (
        (c, "seed 0 in .* and 1 in"),
        (b, "nothing was swapped"),
        (with_values(horizon=9, instruction="x"), "horizon None in .* and 9 in"),
    ):
        with pytest.raises(ValueError, match=message):
            check_same_noise(a, other)
    check_same_noise(a, with_values(device="GPU", seconds=1, instruction="x"))


def test_bad_input_is_one_sentence(pair_folder, predict, capsys):
    data = pair_folder()
    assert main(["--data", str(data)]) == 2
    assert "give as many --swapped folders" in capsys.readouterr().err
    a, b, c = (str(predict(data, lambda pair: moving_square(7), name)) for name in ("a/model", "b/model", "swapped"))
    assert main(["--data", str(data), "--predictions", a, b, "--swapped", c, c]) == 2
    assert "two predictions folders are called 'model'" in capsys.readouterr().err


def test_swapped_data_write_over_nothing_and_say_the_sentence_twice(pair_folder, tmp_path, capsys):
    """prompt.json is where InstructPix2Pix's own scripts look."""
    data, output = pair_folder(), tmp_path / "swapped"
    arguments = ["--data", str(data), "--swapped-data", str(output)]
    assert main(arguments) == 0
    for pair in read_manifest(output):
        assert json.loads((output / pair.sample / "prompt.json").read_text()) == {"edit": pair.instruction}
    before = (output / "index.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "is not empty; delete it or choose another --swapped-data" in capsys.readouterr().err
    assert (output / "index.jsonl").read_bytes() == before
