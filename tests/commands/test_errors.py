"""Laws of what a user reads."""

import json
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from commands.errors import sentence_for
from ldm.data.frame_pairs import read_picture
from ldm.lr_scheduler import LambdaLinearScheduler
from ldm.modules.encoders import modules


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
        lambda: read_picture(Path("absent.png")),
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
