from PIL import Image

from metrics.reports.figures import GridColumn, make_grid, save_figure
from tests.metrics.conftest import moving_square


def test_grid_has_a_cell_for_every_picture_and_shows_its_colour(tmp_path):
    columns = [
        GridColumn(task, (moving_square(0), moving_square(7, colour=colour), None), ("", "9.9 dB", ""))
        for task, colour in (("a task", (255, 0, 0)), ("another", (0, 0, 255)))
    ]
    files = save_figure(make_grid(["input", "prediction of some model", "truth"], columns), tmp_path / "grid")
    assert [file.name for file in files] == ["grid.png", "grid.pdf"]
    colours = Image.open(files[0]).convert("RGB").getcolors(1 << 20)
    assert {(255, 0, 0), (0, 0, 255)} <= {colour for _, colour in colours}
    assert files[1].read_bytes().startswith(b"%PDF")
