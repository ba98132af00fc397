import csv

from metrics.comparison.files import make_comparison_grid, write_comparison
from tests.metrics.comparison.test_compare import run_comparison
from tests.metrics.conftest import moving_square, noisy_picture


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
