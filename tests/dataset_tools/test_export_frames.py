"""Laws of the command that exports picture files."""

from dataset_tools.export_frames import main
from dataset_tools.readers.detect import find_episodes
from dataset_tools.writers.frames import write_frames
from tests.dataset_tools.layouts import read_index


def test_the_frames_read_back_as_the_same_episodes(tmp_path, episodes_folder):
    folder = episodes_folder("hdf5", tasks=("block_handover", "stack_blocks"), count=2)
    assert main(["--episodes", str(folder), "--output", str(tmp_path / "frames")]) == 0
    assert (tmp_path / "frames" / "stack_blocks" / "episode1_frame11.jpg").is_file()
    again = find_episodes(tmp_path / "frames")
    assert [(e.task, e.number) for e in again] == [("block_handover", 0), ("block_handover", 1), ("stack_blocks", 0),
                                                   ("stack_blocks", 1)]  # fmt: skip
    assert [read_index(frame) for frame in again[3].frames()] == list(range(12))
    assert write_frames(again[:1], tmp_path / "png", "png") == 12


def test_two_cameras_would_take_each_others_names(tmp_path, episodes_folder, capsys):
    given = ["--episodes", str(episodes_folder(count=1)), "--camera", "head_camera", "left_camera"]
    assert main([*given, "--output", str(tmp_path / "frames")]) == 2
    assert "export its camera or folder apart" in capsys.readouterr().err and not (tmp_path / "frames").exists()
