import numpy as np
import pytest

from commands.errors import MissingFileError
from formats.positions import name_positions, positions_at, read_positions, write_positions


def test_positions_are_read_as_they_were_written_and_an_older_folder_is_refused(tmp_path):
    """Grippers by side, objects by name, to a hundredth of a millimetre."""
    with pytest.raises(MissingFileError, match="prepare it again"):
        read_positions(tmp_path)
    endposes = np.arange(28, dtype=float).reshape(2, 2, 7)
    named = name_positions(endposes, {"block": endposes[:, 0] + 0.123456})
    write_positions(tmp_path, {"push/0/0-1": positions_at(named, 1)})
    assert read_positions(tmp_path)["push/0/0-1"] == {
        "left_gripper": (14.0, 15.0, 16.0),
        "right_gripper": (21.0, 22.0, 23.0),
        "block": (14.12346, 15.12346, 16.12346),
    }
    assert name_positions(None, {}) == {}
