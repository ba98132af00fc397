"""Laws of run.json."""

import json
from types import SimpleNamespace

import torch

from ldm.callbacks.run_record import RunFacts


def test_a_resumed_run_adds_a_part(tmp_path):
    module = SimpleNamespace(device=torch.device("cpu"), trained_parameters=lambda: [torch.zeros(3, 4)])
    loader = SimpleNamespace(dataset=[0] * 7)
    for first, last in ((0, 5), (5, 9)):
        trainer = SimpleNamespace(global_step=first, world_size=1, precision="32-true", train_dataloader=loader)
        facts = RunFacts(tmp_path)
        facts.on_train_start(trainer, module)
        trainer.global_step = last
        facts.on_save_checkpoint(trainer, module, {})
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["steps"] == 9
    assert [(part["first_step"], part["last_step"]) for part in run["parts"]] == [(0, 5), (5, 9)]
    assert {"command", "commit", "device", "torch", "seconds", "python", "memory_gib"} <= run["parts"][0].keys()
    assert (run["parts"][0]["trained_parameters"], run["parts"][0]["samples"]) == (12, 7)
