"""Laws of the cold start: each side draws a frame in a process of its own."""

import pytest
from PIL import Image

from benchmark import cold_start
from benchmark.peers import Shape

SMALL = Shape(32, (1, 2), 32, 32, 32, 2, blocks=1)


def test_a_failed_process_says_what_it_said():
    with pytest.raises(RuntimeError, match="there is no checkpoint"):
        cold_start._seconds(["-c", "raise SystemExit('there is no checkpoint')"], {})


@pytest.mark.slow
@pytest.mark.reference
def test_both_sides_write_a_frame(tmp_path):
    pytest.importorskip("diffusers")
    cold_start.write_sides(SMALL, tmp_path)
    assert cold_start.seconds_of_ours(tmp_path, "fp32") > 0 and cold_start.seconds_of_theirs(tmp_path, "fp32") > 0
    for name in ("ours.png", "theirs.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (32, 32)
