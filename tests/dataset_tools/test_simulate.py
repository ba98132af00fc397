"""Exit codes and messages of the command."""

import numpy as np
import pytest

from dataset_tools import inspect_dataset, prepare_dataset, prepare_episodes
from dataset_tools import simulate as command
from dataset_tools import simulation as generate
from formats.prepared_episodes import EpisodeFolder
from simulator.baselines import StandStill
from simulator.graphics import RendererUnavailable
from simulator.rollout import observe
from simulator.world import World


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "juggle", "--output", "{folder}"], "juggle"),
        (["--episodes", "0", "--output", "{folder}"], "wanted 1 or more"),
        (["--workers", "two", "--output", "{folder}"], "'two' is not a whole number"),
        (["--save-freq", "9999", "--output", "{folder}"], "wanted 1 to 500"),
        (["--first-seed", "951", "--output", "{folder}"], "wanted 0 to 950"),  # 1000 is episode 1 of seed 0
        (["--first-episode", "99999", "--episodes", "2", "--output", "{folder}"], "wanted 99999 at most"),
        (["--operator-noise", "nan", "--output", "{folder}"], "wanted 0 to 0.05"),
        (["--operator-noise", "0.01", "--layout", "pkl", "--output", "{folder}"], "needs --layout hdf5"),
        (["--cameras", "none", "head", "--output", "{folder}"], "stands alone"),
        (["--cameras", "none", "--layout", "pkl", "--output", "{folder}"], "needs --layout hdf5"),
        (["--output", "{file}"], "cannot be a folder"),
        ([], "--output"),
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_2(tmp_path, capsys, arguments, message):
    """No traceback, and nothing is made."""
    file = tmp_path / "file"
    file.touch()
    names = {"folder": tmp_path / "out", "file": file}
    try:
        code = command.main([argument.format(**names) for argument in arguments])
    except SystemExit as exit:  # argparse's own
        code = exit.code
    assert code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last and last.startswith("python -m dataset_tools.simulate: ")
    assert list(tmp_path.iterdir()) == [file]


def test_without_opengl_the_exit_code_is_3(tmp_path, capsys, monkeypatch):
    """So that `make demo` can fall back on recorded frames."""

    def fail() -> None:
        raise RendererUnavailable("no OpenGL: install libegl1")

    monkeypatch.setattr(generate, "require_renderer", fail)
    assert command.main(["--output", str(tmp_path)]) == 3
    assert "install libegl1" in capsys.readouterr().err


def test_a_run_reports_and_a_second_one_has_nothing_to_do(tmp_path, caplog, monkeypatch, can_draw):
    """A real episode, three frames or so."""
    caplog.set_level("INFO")
    arguments = ["--task", "block_hammer_beat", "--episodes", "1", "--save-freq", "500", "--layout", "pkl"]
    arguments += ["--output", str(tmp_path)]
    assert command.main(arguments) == 0
    assert "block_hammer_beat: 1 episodes, 4 frames, 0 failed attempts" in caplog.text
    assert (tmp_path / "block_hammer_beat_D435_pkl" / "episode0" / "3.pkl").exists()
    monkeypatch.setattr(generate, "require_renderer", lambda: pytest.fail("nothing was to be drawn"))
    assert command.main(arguments) == 0
    assert "1 of 1 episodes are in" in caplog.text


def test_without_cameras_motion_is_prepared_and_pictures_are_refused(tmp_path, capsys, monkeypatch):
    """No OpenGL is asked for; a policy that is told where the objects are learns from such episodes."""
    monkeypatch.setattr(generate, "require_renderer", lambda: pytest.fail("nothing was to be drawn"))
    made, output = tmp_path / "made", tmp_path / "out"
    arguments = ["--task", "block_hammer_beat", "--episodes", "1", "--save-freq", "100", "--cameras", "none"]
    assert command.main([*arguments, "--output", str(made)]) == 0
    assert prepare_episodes.main(["--episodes", str(made), "--output", str(output), "--val", "0", "--test", "0"]) == 0
    opened = EpisodeFolder(output)
    window = opened.window(0, 3, chunk=2)
    assert opened.cameras == () and window.frames == {} and window.objects.shape == (2, 7)
    told = StandStill()
    told.privileged = True
    world = World()
    world.reset("block_hammer_beat", 0)
    shown = observe(world, told, "")["object_poses"]
    assert np.allclose(opened.window(0, 0, chunk=1).objects, shown, atol=1e-6), (
        "objects are told in the order of training"
    )
    assert inspect_dataset.main([str(output)]) == 0
    assert prepare_dataset.main(["--episodes", str(made), "--output", str(tmp_path / "pairs"), "--horizon", "5"]) == 2
    assert "holds motion and no pictures" in capsys.readouterr().err.splitlines()[-1]
