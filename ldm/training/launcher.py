"""Who started this process: torchrun, SLURM's srun, Lightning itself, or a person. Reads the environment.

torchrun and srun start every process of a run and say so in environment variables; Lightning starts the further
processes of one machine by itself, where nobody did.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from commands.errors import UserError

SLURM_BY_HAND = ("bash", "interactive")  # job names under which SLURM's variables mean a shell, as Lightning has it


def read_launcher(environment: Mapping[str, str] = os.environ) -> tuple[str, dict[str, int]]:
    """Name of the launcher and what it decided: `devices` (processes a node) and `num_nodes`; nothing without one."""
    if "TORCHELASTIC_RUN_ID" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        return "torchrun", {"devices": devices, "num_nodes": int(environment["WORLD_SIZE"]) // devices}
    by_hand = environment.get("SLURM_JOB_NAME") in SLURM_BY_HAND
    if "SLURM_NTASKS_PER_NODE" in environment and "SLURM_NTASKS" in environment and not by_hand:
        devices = int(environment["SLURM_NTASKS_PER_NODE"])
        return "srun", {"devices": devices, "num_nodes": int(environment.get("SLURM_NNODES", 1))}
    return "", {}


def follow_launcher(trainer: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Trainer arguments with devices and nodes as the launcher made them, where the config leaves them open.

    Raises:
        UserError: if config or flags ask for other numbers than the launcher started.
    """
    launcher, made = read_launcher(environment)
    followed = dict(trainer)
    for name, number in made.items():
        asked = followed.get(name)
        if asked in (None, "auto", -1, "-1"):
            followed[name] = number
        elif (len(asked) if isinstance(asked, list) else int(asked)) != number:
            flag = "--nproc-per-node" if launcher == "torchrun" else "--ntasks-per-node"
            raise UserError(
                f"{launcher} started {made['devices']} process(es) on each of {made['num_nodes']} node(s), but {name} "
                f"is {asked}; ask for as many GPUs a node (--gpus) and nodes (--num-nodes) as {flag} and its nodes say."
            )
    return followed


def choose_devices(trainer: Mapping[str, Any], gpus: Sequence[int] | None) -> dict[str, Any]:
    """Trainer arguments that say where to run, on as many processes as torchrun or srun started.

    Raises:
        UserError: if GPUs are asked for that are not there, or not as many as processes.
    """
    if gpus is None:
        return follow_launcher(trainer)
    found = torch.cuda.device_count()
    missing = [gpu for gpu in gpus if gpu >= found]
    if missing or not gpus:
        wanted = ",".join(map(str, gpus)) or "none"
        raise UserError(
            f"--gpus {wanted}: this machine has {found or 'no'} CUDA GPU{'s' if found != 1 else ''}; look at the run "
            "with --dry-run, or try the small one: python main.py --base configs/train.yaml configs/cpu_tiny.yaml"
        )
    return follow_launcher({**trainer, "accelerator": "gpu", "devices": list(gpus)})


def own_device(trainer: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> str:
    """Where this process computes before Lightning has chosen: its GPU among those of the Trainer arguments, or cpu."""
    if trainer.get("accelerator", "auto") not in ("gpu", "cuda", "auto") or not torch.cuda.is_available():
        return "cpu"
    rank = int(environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", 0)))
    devices = trainer.get("devices")
    return f"cuda:{devices[rank] if isinstance(devices, list) else rank}"


def count_processes(trainer: Mapping[str, Any]) -> int:
    """Processes that Lightning makes of Trainer arguments: devices x nodes.

    Left open, `auto` or -1, devices are all GPUs of this machine, or one process where it has none or they are not
    asked for.
    """
    devices = trainer.get("devices", "auto")
    if isinstance(devices, str) and "," in devices:
        devices = [part for part in devices.split(",") if part.strip()]
    if isinstance(devices, list | tuple):
        number = len(devices)
    elif devices in (None, "auto", -1, "-1"):
        on_gpus = trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda")
        number = max(1, torch.cuda.device_count()) if on_gpus else 1
    else:
        number = int(devices)
    return number * int(trainer.get("num_nodes", 1))
