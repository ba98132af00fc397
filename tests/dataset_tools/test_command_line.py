"""Laws of errors: one sentence and exit code 2 for bad input, a traceback for our own faults."""

import errno
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from dataset_tools.command_line import exit_code_of
from dataset_tools.episode import EpisodeError


def run(error: BaseException) -> int:
    with exit_code_of("command", Path("out")) as status:
        raise error
    return status.code


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (EpisodeError("frame 3 is broken; mend it."), "frame 3 is broken; mend it."),
        (OSError(errno.ENOSPC, "No space left on device", "out/0000001"), "out/0000001: No space left on device"),
        (BrokenProcessPool("worker died"), "go on with --workers 1"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "choose another --output"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr(capsys, error, says):
    assert run(error) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and says in captured.err and captured.err.count("\n") == 1


def test_an_interruption_says_how_to_go_on(capsys):
    assert run(KeyboardInterrupt()) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_our_own_faults_keep_their_traceback():
    with pytest.raises(KeyError):
        run(KeyError("a bug"))


def test_success_is_0():
    with exit_code_of("command", Path("out")) as status:
        pass
    assert status.code == 0
