"""Laws of what torchrun and srun tell a process."""

import pytest

from commands.errors import UserError
from commands.processes import is_first_process
from ldm.training.launcher import count_processes, follow_launcher, own_device, read_launcher

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
SRUN = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        (TORCHRUN, False),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"}, True),
        (TORCHRUN | {"RANK": "2", "LOCAL_RANK": "0"}, False),  # first of the second node
        (SRUN, True),
        (SRUN | {"SLURM_PROCID": "5"}, False),
        ({"LOCAL_RANK": "1"}, False),  # started by Lightning
        ({"NODE_RANK": "1"}, False),
    ],
)
def test_one_process_is_the_first(environment, first):
    assert is_first_process(environment) is first


def test_devices_and_nodes_are_the_launchers():
    assert read_launcher(TORCHRUN) == ("torchrun", {"devices": 2, "num_nodes": 2})
    assert read_launcher(SRUN) == ("srun", {"devices": 4, "num_nodes": 2})
    assert read_launcher(SRUN | {"SLURM_JOB_NAME": "bash"}) == ("", {})
    assert follow_launcher({"max_steps": 1}, TORCHRUN) == {"max_steps": 1, "devices": 2, "num_nodes": 2}
    assert follow_launcher({"devices": [0, 1], "num_nodes": 2}, TORCHRUN)["devices"] == [0, 1]
    assert follow_launcher({"devices": [0, 1]}, {}) == {"devices": [0, 1]}


@pytest.mark.parametrize("asked", [{"devices": [0]}, {"devices": 4}, {"num_nodes": 1}])
def test_other_numbers_than_were_started_are_said(asked):
    with pytest.raises(UserError, match=r"torchrun started 2 process\(es\) on each of 2 node\(s\), but"):
        follow_launcher(asked, TORCHRUN)


@pytest.mark.parametrize(
    ("trainer", "processes"),
    [
        ({"devices": 2}, 2),
        ({"devices": [0, 2, 3], "num_nodes": 2}, 6),
        ({"devices": "0,1"}, 2),
        ({"devices": "4", "num_nodes": 3}, 12),
        ({}, 8),
        ({"devices": "auto", "num_nodes": 2}, 16),
        ({"devices": -1, "accelerator": "gpu"}, 8),
        ({"accelerator": "cpu"}, 1),
    ],
)
def test_processes_are_devices_times_nodes(monkeypatch, trainer, processes):
    """On a machine of eight GPUs."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert count_processes(trainer) == processes


@pytest.mark.parametrize(
    ("trainer", "environment", "device"),
    [
        ({}, {}, "cuda:0"),
        ({"accelerator": "cpu"}, {}, "cpu"),
        ({"accelerator": "gpu", "devices": [3, 1]}, {}, "cuda:3"),
        ({"accelerator": "gpu", "devices": [3, 1]}, {"LOCAL_RANK": "1"}, "cuda:1"),
        ({"accelerator": "auto", "devices": 2}, {"LOCAL_RANK": "1"}, "cuda:1"),
    ],
)
def test_a_process_computes_on_the_gpu_that_it_will_train_on(monkeypatch, trainer, environment, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert own_device(trainer, environment) == device
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert own_device(trainer, environment) == "cpu"
