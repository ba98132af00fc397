"""Laws of how a command ends: one sentence and exit code 2 for bad input, a traceback for our own faults."""

import errno
import json
import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from commands.errors import UserError, sentence_for
from commands.run import run_command, show_progress
from ldm.data.frame_pairs import read_pair_picture
from ldm.lr_scheduler import LambdaLinearScheduler
from ldm.modules.encoders import modules


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


def caught(function):
    with pytest.raises(Exception) as error:  # noqa: PT011 - the kind is the parameter of the test
        function()
    return error.value


def test_our_own_errors_are_for_users_and_other_faults_keep_their_traceback():
    error = caught(lambda: LambdaLinearScheduler([0], [1.0, 1.0], [1.0], [0], [10]))
    assert sentence_for(error) == str(error)
    assert sentence_for(caught(lambda: json.loads("{"))) is sentence_for(KeyError("x")) is None


def test_out_of_memory_names_the_three_settings_to_change():
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    sentence = sentence_for(kind("CUDA out of memory"))
    assert all(name in sentence for name in ("batch_size", "use_checkpoint=true", "resolution"))


class Failing(Dataset):
    """A data set whose only sample fails, here or inside a library."""

    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.fail()


@pytest.mark.parametrize(
    "fail",
    [
        lambda: read_pair_picture(Path("absent.png")),
        lambda: LambdaLinearScheduler([0], [1.0, 1.0], [1.0], [0], [10]),
        lambda: json.loads("{"),  # a library's fault, which keeps its traceback
    ],
)
def test_an_error_in_a_loaders_process_is_said_as_one_in_our_own(fail):
    error = caught(lambda: next(iter(DataLoader(Failing(fail), num_workers=1))))
    assert "DataLoader worker process" in str(error)
    assert sentence_for(error) == sentence_for(caught(fail))


def test_a_missing_package_is_said_where_we_have_a_sentence_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    error = caught(modules._import_open_clip)
    assert "pip install open-clip-torch" in sentence_for(error)
    with pytest.raises(ImportError) as fault:
        import open_clip  # noqa: F401
    assert sentence_for(fault.value) is None, "an import that nobody foresaw keeps its traceback"


def test_text_that_cannot_be_written_is_the_users():
    """A sentence given in bytes that are no UTF-8 arrives as half letters, which fail only where they are written."""
    with pytest.raises(UnicodeEncodeError) as caught:
        b"stack \xff".decode("utf-8", "surrogateescape").encode("utf-8")
    assert r"'\udcff' cannot be written as text" in sentence_for(caught.value)
