"""Laws of policies: a function, an object and a server are played alike; nothing that a stranger sends is executed."""

import io
import pickle
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from commands.errors import UserError
from prediction.policies import kinds as policies
from prediction.policies.kinds import (
    FunctionPolicy,
    RemotePolicy,
    as_observation,
    import_policy,
    load_policy,
    pack,
    unpack,
)
from prediction.policies.server import make_server


class Shifts:
    """A policy that somebody wrote: adds a number to the command in force."""

    cameras = ("head", "left")
    size = 32
    told = ""

    def reset(self, instruction):
        self.told = instruction

    def act(self, observation):
        assert observation["pixels"]["head"].dtype == np.uint8 and observation["instruction"] == self.told
        return observation["command"][None] + 0.5


def ten_lines(observation):
    """Another one, as a function."""
    return np.tile(observation["command"], (3, 1))


OBSERVATION = {
    "pixels": {"head": np.zeros((32, 32, 3), np.uint8), "left": np.ones((32, 32, 3), np.uint8)},
    "agent_pos": np.arange(14.0),
    "command": np.arange(14.0),
    "instruction": "stack blocks\u2028now",
    "seconds": 0.5,
}


@contextmanager
def serving(policy):
    server = make_server(policy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_observation_survives_the_journey():
    back = as_observation(unpack(pack(OBSERVATION), "we"))
    assert back["instruction"] == OBSERVATION["instruction"] and back["seconds"] == 0.5
    np.testing.assert_array_equal(back["pixels"]["left"], OBSERVATION["pixels"]["left"])
    np.testing.assert_array_equal(back["command"], OBSERVATION["command"])


def test_a_server_answers_as_the_policy_itself():
    with serving(FunctionPolicy(Shifts)) as address:
        remote = RemotePolicy(address)
        assert (remote.cameras, remote.size, remote.privileged) == (("head", "left"), 32, False)
        remote.reset(OBSERVATION["instruction"], "task", 3)
        np.testing.assert_array_equal(remote.act(OBSERVATION), OBSERVATION["command"][None] + 0.5)


@pytest.mark.parametrize("size", [None, 32])
def test_pictures_of_a_served_policy_are_as_it_wants_them(size):
    """Policies of runs prepare their pictures themselves, and want them as they are drawn."""
    served = SimpleNamespace(cameras=("head",), size=size, privileged=False, reset=lambda *_: None)
    with serving(served) as address:
        assert RemotePolicy(address).size == size


def test_a_policy_that_raises_is_said_to_the_caller():
    with (
        serving(FunctionPolicy(lambda observation: 1 / 0)) as address,
        pytest.raises(UserError, match="500 .*ZeroDivisionError"),
    ):
        RemotePolicy(address).act(OBSERVATION)


def test_a_server_takes_no_pickles_no_bombs_and_no_endless_bodies(monkeypatch):
    def post(address, body, **headers):
        request = urllib.request.Request(address + "/act", data=body, headers=headers, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        return refused.value.read().decode()

    hostile = io.BytesIO()
    np.savez(hostile, command=np.array([pickle.dumps(1), print], dtype=object))
    with serving(FunctionPolicy(ten_lines)) as address:
        assert "no npz of plain arrays" in post(address, hostile.getvalue())
        assert "no npz of plain arrays" in post(address, b"PK garbage")
        assert "wanted at most" in post(address, b"x", **{"Content-Length": "99999999999"})
        bomb = io.BytesIO()
        monkeypatch.setattr(policies, "LARGEST_BODY", 10_000)
        np.savez_compressed(bomb, command=np.zeros(1_000_000))
        assert "MiB" in post(address, bomb.getvalue())


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"garbage", "no npz"), (pack({"wrong": 1}), "wanted an array 'targets'")],
)
def test_a_garbage_answer_is_one_sentence(monkeypatch, answer, says):
    with serving(FunctionPolicy(ten_lines)) as address:
        remote = RemotePolicy(address)
        monkeypatch.setattr("prediction.policies.server._respond", lambda *_: answer)
        with pytest.raises(UserError, match=says):
            remote.act(OBSERVATION)


def test_a_server_that_hangs_or_is_absent_is_one_sentence():
    stop = threading.Event()
    with serving(FunctionPolicy(lambda observation: stop.wait(5))) as address:
        remote = RemotePolicy(address, timeout=0.3)
        with pytest.raises(UserError, match="did not answer within 0.3 s"):
            remote.act(OBSERVATION)
        stop.set()
    with pytest.raises(UserError, match="is the policy's server running"):
        RemotePolicy("http://127.0.0.1:9")


def test_a_function_of_a_module_is_a_policy():
    policy = import_policy(f"{__name__}:ten_lines")
    assert policy.cameras == ("head",) and policy.act(OBSERVATION).shape == (3, 14)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no_such_module_of_ours:act", "no module"),
        (f"{__name__}:absent", "has no 'absent'"),
        (f"{__name__}:OBSERVATION", "no function"),
        ("logs/absent", "wanted a run folder"),
    ],
)
def test_a_policy_that_is_none_is_named(text, says):
    with pytest.raises(UserError, match=says):
        load_policy(text)
