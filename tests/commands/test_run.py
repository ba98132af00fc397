"""Laws of how a command ends: one sentence and exit code 2 for bad input, a traceback for our own faults."""

import errno
import logging
from concurrent.futures.process import BrokenProcessPool

import pytest

from commands.errors import UserError
from commands.run import run_command, show_progress


def run(error: BaseException) -> int:
    def body() -> None:
        raise error

    return run_command("command", body)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("frame 3 is broken; mend it."), "command: frame 3 is broken; mend it."),
        (OSError(errno.ENOSPC, "No space left on device", "out/0000001"), "the disk is full"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "out/0000001"), "out/0000001: Not a directory"),
        (OSError(errno.EROFS, "Read-only file system", "out"), "choose another folder"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "choose another folder"),
        (BrokenProcessPool("worker died"), "go on with --workers 1"),
        (MemoryError(), "memory is too small"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr(capsys, error, says):
    assert run(error) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and says in captured.err and captured.err.count("\n") == 1


def test_an_interruption_says_how_to_go_on(capsys):
    assert run(KeyboardInterrupt()) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [KeyError("a bug"), ValueError("zip() argument 2 is shorter"), OSError("no errno")])
def test_our_own_faults_keep_their_traceback(fault):
    with pytest.raises(type(fault)):
        run(fault)


def test_the_body_says_the_exit_code():
    assert run_command("command", lambda: None) == 0
    assert run_command("command", lambda: 1) == 1


def test_log_lines_are_shown_while_the_command_runs_and_the_logger_is_left_as_it_was(capsys):
    handlers = list(logging.getLogger().handlers)
    run_command("command", lambda: logging.getLogger("x").info("half done"))
    assert capsys.readouterr().err == "half done\n"
    assert logging.getLogger().handlers == handlers


def test_progress_hands_on_every_step():
    assert list(show_progress(range(3), "counting", 3)) == [0, 1, 2]


def test_a_sentence_of_half_letters_is_printed(capsys):
    """A name given in bytes that are no UTF-8 comes back in the sentence, and the error stream may be strict."""

    def body():
        raise UserError("no folder x\udcff")

    assert run_command("x.py", body) == 2
    assert capsys.readouterr().err == "x.py: no folder x\\udcff\n"
