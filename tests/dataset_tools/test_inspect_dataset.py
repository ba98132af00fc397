"""Laws of the command that looks at prepared folders."""

from PIL import Image

from dataset_tools.inspect_dataset import main
from dataset_tools.prepare_episodes import main as prepare_episodes


def test_it_reports_draws_and_finds_no_leak(tmp_path, prepared, capsys):
    folder = prepared("--horizon", "5", count=3)
    assert main([str(folder), "--output", str(tmp_path / "look")]) == 0
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
    assert main([str(folder), "--output", str(tmp_path / "look")]) == 0
    assert "leak check impossible" in capsys.readouterr().out


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 2
    assert "inspect_dataset: no folder" in capsys.readouterr().err


def test_prepared_episodes_are_shown_and_leaks_found_across_both_kinds(tmp_path, prepared, capsys):
    """An episode that pairs train on must not be one that a policy is tested on."""
    pairs, episodes = prepared("--horizon", "5", count=3), tmp_path / "episodes"
    arguments = ["--episodes", str(tmp_path / "data"), "--size", "16", "--output"]
    assert prepare_episodes([*arguments, str(episodes)]) == 0
    assert main([str(pairs), str(episodes), "--output", str(tmp_path / "look")]) == 0
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
    assert main([str(pairs), str(tested), "--output", str(tmp_path / "look")]) == 1
    assert "LEAK: 1 episodes" in capsys.readouterr().out
