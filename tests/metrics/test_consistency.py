"""Laws of the consistency of films: pairs of one source at rising times; the truth has ratio 1 and error 0."""

import shutil

import numpy as np
import pytest
from PIL import Image

from formats.prepared_folder import FramePair, write_manifest
from metrics.consistency import films_of, main


@pytest.fixture
def films(tmp_path):
    """Two episodes with two sources each, at three times; a bar moves one pixel a frame. The truth as predictions."""
    folder, pairs = tmp_path / "films", []
    for episode in range(2):
        for source in (0, 4):
            for target in (source + 1, source + 2, source + 4):
                name = f"{len(pairs):07d}"
                frames = {"source_index": source, "target_index": target}
                named = (f"push/{episode}/{source}-{target}", name, "000000", "push", ".png", "test", "push", episode)
                pair = FramePair(*named, **frames)
                (folder / name).mkdir(parents=True)
                for path, t in zip(pair.paths(folder), (source, target), strict=True):
                    frame = np.full((16, 16, 3), 50 * episode, np.uint8)
                    frame[:, t] = 200
                    Image.fromarray(frame).save(path)
                path = tmp_path / "whole" / f"{pair.pair_id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(pair.target_path(folder), path)
                pairs.append(pair)
    write_manifest(folder, pairs, {})
    return folder, pairs


def test_films_are_sorted_by_time_and_need_two(films):
    _, pairs = films
    found = films_of([*reversed(pairs), FramePair("push/0/9-10", "x", "0", "push", task="push", episode=0)])
    assert [[pair.target_index for pair in film] for film in found] == [[5, 6, 8], [1, 2, 4]] * 2
    assert films_of(pairs[:1]) == []


def test_the_truth_is_consistent_and_a_still_is_not(films, tmp_path, capsys):
    folder, pairs = films
    for pair in pairs:
        path = tmp_path / "still" / f"{pair.pair_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pair.source_path(folder), path)
    arguments = ["--data", str(folder), "--predictions", str(tmp_path / "whole"), str(tmp_path / "still")]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    truth, still = capsys.readouterr().out.splitlines()[2:4]
    assert truth.startswith("| whole | 21.88 [") and truth.endswith("| 1.00 [1.00–1.00] | 0.00 [0.00–0.00] | 4 |")
    assert still.startswith("| still | 0.00 [0.00–0.00] | 21.88 [") and still.endswith(" | 4 |")
    assert (tmp_path / "out/consistency.csv").read_text().startswith("row,change,true_change,ratio,error\nwhole,21.875")


def test_half_films_and_no_films_are_one_sentence(films, tmp_path, capsys):
    folder, pairs = films
    for pair in pairs:
        if pair.target_index in (4, 8):
            (tmp_path / "whole" / f"{pair.pair_id}.png").unlink()
    assert main(["--data", str(folder), "--predictions", str(tmp_path / "whole")]) == 2
    assert "whole has no film whole" in capsys.readouterr().err
    write_manifest(folder, pairs[::3], {})
    assert main(["--data", str(folder), "--predictions", str(tmp_path / "whole")]) == 2
    assert "has no films" in capsys.readouterr().err
