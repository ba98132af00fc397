"""Laws of what a user reads."""

import errno

import pytest

from ldm.errors import sentence_for
from ldm.lr_scheduler import LambdaLinearScheduler


def caught(function):
    with pytest.raises(Exception) as error:  # noqa: PT011 - the kind is the parameter of the test
        function()
    return error.value


def test_our_own_errors_are_for_users():
    error = caught(lambda: LambdaLinearScheduler([0], [1.0, 1.0], [1.0], [0], [10]))
    assert sentence_for(error) == str(error)


def test_a_library_error_keeps_its_traceback():
    import json

    assert sentence_for(caught(lambda: json.loads("{"))) is None


def test_a_full_disk_is_said():
    sentence = sentence_for(OSError(errno.ENOSPC, "No space left on device", "out.png"))
    assert "disk is full" in sentence and "out.png" in sentence


def test_other_faults_keep_their_traceback():
    assert sentence_for(KeyError("x")) is None


def test_out_of_memory_names_the_three_settings_to_change():
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    sentence = sentence_for(kind("CUDA out of memory"))
    assert all(name in sentence for name in ("batch_size", "use_checkpoint=true", "resolution"))
