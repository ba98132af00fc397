"""Laws of unpickling: numpy arrays of both numpy generations, and nothing that can run."""

import builtins
import os
import pickle

import numpy as np
import pytest

from commands.errors import UserError
from dataset_tools.readers.safe_pickle import read_pickle


class Runs:
    """Unpickling this calls os.system."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_containers_come_back_equal(tmp_path, protocol):
    content = {"rgb": np.arange(24, dtype=np.uint8).reshape(2, 4, 3), "pointcloud": [], "action": np.ones(14)}
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    if protocol == 2:
        with pytest.raises(UserError, match="_codecs.encode"):  # protocol 2 needs a name that RoboTwin never wrote
            read_pickle(path)
        return
    read = read_pickle(path)
    assert np.array_equal(read["rgb"], content["rgb"]) and read["pointcloud"] == []


def test_pickles_of_numpy_1_are_read_by_numpy_2(tmp_path):
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps(np.arange(5.0), 3).replace(b"numpy._core", b"numpy.core"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    assert np.array_equal(read_pickle(path), np.arange(5.0))


def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path):
    witness, path = tmp_path / "witness", tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps({"observation": Runs(f"touch {witness}")}, 4))
    with pytest.raises(UserError, match=r"(posix|nt)\.system.*refused"):
        read_pickle(path)
    assert not witness.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtins_are_refused(tmp_path, name):
    (tmp_path / "0.pkl").write_bytes(pickle.dumps(getattr(builtins, name)))
    with pytest.raises(UserError, match=f"builtins.{name}"):
        read_pickle(tmp_path / "0.pkl")


def test_an_absent_pickle_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*7\.pkl"):
        read_pickle(tmp_path / "7.pkl")
