from dataclasses import replace

import pytest
from PIL import Image

from formats.prepared_folder import FramePair, write_manifest
from metrics.comparison.pairs import read_pairs
from metrics.compute_metrics import main as compute_metrics
from metrics.reports.cases import choose_cases, find_cases, find_consecutive, open_pictures
from metrics.reports.runs import read_run
from tests.metrics.conftest import moving_square, noisy_picture


@pytest.fixture
def results(tmp_path):
    """One episode, current frames 3..7, targets 100 later; the prediction gets worse with the frame."""
    folder, pairs = tmp_path / "d", []
    for frame in range(3, 8):
        sample = f"{frame:07d}"
        (folder / sample).mkdir(parents=True)
        for ending, picture in (("0", moving_square(0)), ("1", moving_square(7))):
            Image.fromarray(picture).save(folder / sample / f"000000_{ending}.png")
        pairs.append(
            FramePair(f"t/0/{frame}-{frame + 100}", sample, "000000", "go", ".png", "test", "t", 0, frame, frame + 100)
        )
        path = tmp_path / "p" / f"t/0/{frame}-{frame + 100}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = moving_square(7)
        picture[:, : 2 * frame] = noisy_picture(0)[:, : 2 * frame]
        Image.fromarray(picture).save(path)
    write_manifest(folder, pairs, {})
    arguments = ["--data", folder, "--predictions", f"model={tmp_path / 'p'}", "--output", tmp_path / "o"]
    assert compute_metrics([str(argument) for argument in arguments]) == 0
    return read_run(str(tmp_path / "o")).results[0]


def test_cases_are_best_median_and_worst(results):
    """pairs.jsonl holds the PSNR of a perfect prediction as "inf"; what is not known is no case."""
    pairs = [
        entry | {"psnr": {5: "inf", 3: "nan"}.get(entry["source_index"], entry["psnr"])} for entry in results.pairs
    ]
    for found, expected in ((results, (3, 5, 7)), (replace(results, pairs=tuple(pairs)), (5, 6, 7))):
        chosen = choose_cases(found, "model", "t")
        assert list(chosen) == ["best", "median", "worst"]
        assert tuple(entry["source_index"] for entry in chosen.values()) == expected
    assert choose_cases(results, "model", "absent") == {}


def test_pictures_are_found_again_through_table_json(results):
    cases = find_cases(results, open_pictures(results), "model", "t")
    assert [case.kind for case in cases] == ["best", "median", "worst"]
    assert (cases[0].source == moving_square(0)).all() and (cases[0].truth == moving_square(7)).all()
    assert (cases[2].prediction[:, 14:] == moving_square(7)[:, 14:]).all()


def test_fewer_pairs_than_kinds_are_shown_once(results, tmp_path):
    lines = [line for line in (results.folder / "pairs.jsonl").read_text().splitlines() if '"t/0/3-103"' in line]
    (results.folder / "pairs.jsonl").write_text("\n".join(lines))
    alone = read_run(str(results.folder)).results[0]
    assert len(choose_cases(alone, "model", "t")) == 1


def test_consecutive_frames_follow_each_other_in_one_episode(results):
    assert [entry["source_index"] for entry in find_consecutive(results, "model")] == [3, 4, 5]
    assert find_consecutive(results, "model", count=9) == []


def test_data_that_were_prepared_again_are_named(results, tmp_path):
    pairs = read_pairs(tmp_path / "d")
    write_manifest(tmp_path / "d", pairs[1:], {})
    with pytest.raises(ValueError, match="no longer has pair t/0/3-103"):
        open_pictures(results)
