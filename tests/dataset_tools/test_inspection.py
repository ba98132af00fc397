"""Laws of inspection: counts are true, leaks are found across folders, and only leaks; pictures show what is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dataset_tools.inspect_dataset import main as inspect_dataset
from dataset_tools.inspection import (
    CAPTION,
    CELL,
    GAP,
    draw_sheet,
    find_leaks,
    inspect_folder,
    spread,
    write_sheets,
)
from dataset_tools.prepare_episodes import main as prepare_episodes
from tests.dataset_tools.layouts import RED


def test_counts_horizons_and_motion_are_true(prepared):
    inspection = inspect_folder(prepared("--horizon", "5", count=3))
    (task,) = inspection.tasks
    assert task.pairs == {"train": 7, "val": 7, "test": 7} and task.episodes == {"train": 1, "val": 1, "test": 1}
    assert (task.horizons, task.seconds) == ((5,), (1.0,))
    # The square of 8 x 8 moves 5 columns: 2 x 5 x 8 pixels of 48 x 64 change by (180 + 10 + 10) / 3 levels.
    assert inspection.motion.mean() == pytest.approx(80 / (48 * 64) * 200 / 3, rel=0.3)


def test_the_same_scene_in_two_folders_is_a_leak_only_across_train_and_held_out(prepared):
    honest = prepared("--horizon", "5", count=3)
    other = prepared("--horizon", "4", "--holdout", "0", "--val", "0", name="other", count=0)
    alone = [inspect_folder(folder) for folder in (honest, other)]
    assert find_leaks(alone[:1]) == find_leaks(alone[1:]) == []
    leaks = find_leaks(alone)
    assert [leak.episode for leak in leaks] == [0, 1, 2]
    assert leaks[0].trained_in == (str(honest),) and leaks[0].held_out_in == (str(other),)


def test_the_leaky_split_is_a_leak_within_one_folder(prepared):
    assert find_leaks([inspect_folder(prepared("--horizon", "2", "--split", "leaky", count=3))])


def test_duplicates_are_counted(prepared):
    """Moving-square episodes are equal: every current picture belongs to all three."""
    folder = prepared("--horizon", "5", count=3)
    inspection = inspect_folder(folder)
    assert (inspection.static, inspection.repeated) == (0, 7)
    pair = inspection.pairs[0]
    pair.target_path(folder).unlink()
    pair.target_path(folder).write_bytes(pair.source_path(folder).read_bytes())
    assert inspect_folder(folder).static == 1


@given(st.integers(0, 60), st.integers(2, 30))
def test_a_sample_is_spread_from_first_to_last(count, wanted):
    chosen = spread(range(count), wanted)
    assert len(chosen) == min(count, wanted) and chosen == sorted(set(chosen))
    if count:
        assert chosen[0] == 0 and chosen[-1] == count - 1
        assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 1 else True


def test_the_sheet_shows_current_future_and_difference(prepared):
    folder = prepared("--horizon", "5", "--picture-format", "png", count=1)
    inspection = inspect_folder(folder)
    sheet = np.asarray(draw_sheet(folder, inspection.pairs[:1], "title"))
    top, width = CAPTION + GAP, round(64 * CELL / 48)
    cells = [sheet[top : top + CELL, GAP + k * (width + 2) : GAP + k * (width + 2) + width] for k in range(3)]
    scale = CELL / 48
    for cell, column in zip(cells[:2], (0, 5), strict=True):
        shown = cell[round(24 * scale), round((column + 4) * scale)]
        assert np.abs(shown.astype(int) - RED).max() < 12  # the recording was a JPEG
    assert cells[2][round(24 * scale), round(2 * scale)].max() > 200 and cells[2][2, -2].max() < 12


def test_each_task_has_a_sheet_of_at_most_12_pairs(tmp_path, prepared):
    folder = prepared("--horizon", "2", tasks=("block_hammer_beat", "block_handover"), count=2)
    written = write_sheets(inspect_folder(folder), tmp_path / "sheets")
    assert [path.name for path in written] == ["contact_block_hammer_beat.png", "contact_block_handover.png"]
    rows = 4
    assert Image.open(written[0]).height == rows * (CELL + CAPTION + GAP) + CAPTION + GAP


def test_it_reports_draws_and_finds_no_leak(tmp_path, prepared, capsys):
    folder = prepared("--horizon", "5", count=3)
    assert inspect_dataset([str(folder), "--output", str(tmp_path / "look")]) == 0
    report = capsys.readouterr().out
    for line in ("21 pairs, 1 tasks", "train 7 pairs of 1 episodes", "5 frames = 1 s", "no episode is both"):
        assert line in report
    names = {path.name for path in (tmp_path / "look").iterdir()}
    assert names == {"report.txt", "motion.png", "contact_block_hammer_beat.png"}
    assert (tmp_path / "look" / "report.txt").read_text() in report
    assert Image.open(tmp_path / "look" / "motion.png").width > 400


def test_a_data_set_without_an_index_says_what_it_cannot_tell(tmp_path, prepared, capsys):
    folder = prepared("--horizon", "5", count=3)
    (folder / "index.jsonl").unlink()
    assert inspect_dataset([str(folder), "--output", str(tmp_path / "look")]) == 0
    assert "leak check impossible" in capsys.readouterr().out


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert inspect_dataset([str(tmp_path / "absent")]) == 2
    assert "inspect_dataset: no folder" in capsys.readouterr().err


def test_prepared_episodes_are_shown_and_leaks_found_across_both_kinds(tmp_path, prepared, capsys):
    """An episode that pairs train on must not be one that a policy is tested on."""
    pairs, episodes = prepared("--horizon", "5", count=3), tmp_path / "episodes"
    arguments = ["--episodes", str(tmp_path / "data"), "--size", "16", "--output"]
    assert prepare_episodes([*arguments, str(episodes)]) == 0
    assert inspect_dataset([str(pairs), str(episodes), "--output", str(tmp_path / "look")]) == 0
    report = capsys.readouterr().out
    for line in (
        "3 episodes, 1 tasks, head_camera 16 px",
        "12 to 12 frames",
        "states, actions",
        "scales of 1 training",
    ):
        assert line in report
    assert Image.open(tmp_path / "look" / "episode_block_hammer_beat.png").size == (788, 128)
    tested = tmp_path / "tested"
    assert prepare_episodes([*arguments, str(tested), "--test", "1", "--val", "0"]) == 0
    assert inspect_dataset([str(pairs), str(tested), "--output", str(tmp_path / "look")]) == 1
    assert "LEAK: 1 episodes" in capsys.readouterr().out
