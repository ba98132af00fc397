"""Who may import whom, read from the source: the table of packages, the doors of heavy ones, no cycles."""

import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT, SCRIPTS, below, imports, sources

STANDARD = ("numpy", "PIL", "rich")
NETWORKS = ("torch", "einops", "safetensors")

# Who may import whom. A name stands for itself and all below it; the standard library is everybody's.
MAY_IMPORT = {
    "commands": STANDARD,
    "formats": (*STANDARD, "commands.errors", "commands.processes", "av", "msgspec", "yaml"),
    "simulator": (*STANDARD, "commands.errors", "mujoco", "OpenGL", "gymnasium"),
    "dataset_tools": (*STANDARD, "einops", "commands", "formats", "simulator", "h5py", "pyarrow", "av", "matplotlib",
                      "msgspec", "scipy", "huggingface_hub"),
    "ldm": (*STANDARD, *NETWORKS, "commands", "formats", "omegaconf", "yaml", "kornia", "scipy", "torchmetrics",
            "transformers", "open_clip", "peft", "bitsandbytes", "pytorch_lightning", "wandb", "pynvml",
            "huggingface_hub"),
    "stable_diffusion": (*STANDARD, *NETWORKS, "commands", "formats", "ldm", "yaml", "huggingface_hub", "omegaconf",
                         "httpx", "onnx", "onnxruntime", "onnxscript"),
    "prediction": (*STANDARD, *NETWORKS, "commands", "formats", "ldm", "stable_diffusion", "omegaconf", "kornia",
                   "lerobot"),
    "metrics": (*STANDARD, *NETWORKS, "commands", "formats", "ldm.modules.losses", "ldm.modules.encoders",
                "ldm.modules.policy", "ldm.modules.ema", "ldm.data.pixels", "matplotlib", "scipy",
                "msgspec", "yaml"),
}  # fmt: skip

# What a heavy package's users are; nobody else may import it.
DOORS = {
    "pytorch_lightning": ("main", "ldm.models.trained_model", "ldm.callbacks",
                          "ldm.training", "ldm.data.base", "benchmark"),
    "mujoco": ("simulator",),
    "gymnasium": ("simulator.gymnasium_env",),
    "h5py": ("dataset_tools.readers", "dataset_tools.writers", "dataset_tools.simulation"),
    "transformers": ("ldm.modules.encoders", "benchmark"),
    "open_clip": ("ldm.modules.encoders",),
    "torchmetrics": ("ldm.modules.losses",),
    "wandb": ("ldm.callbacks",),
    "gradio": ("edit_app",),
    "diffusers": ("benchmark",),
    "onnxruntime": ("stable_diffusion.onnx_export",),
    "lerobot": ("prediction.policies.lerobot",),
    "torchvision": (),
}  # fmt: skip


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    wrong = [
        f"{name} imports {imported}"
        for name in sources()
        if below(name, package)
        for imported in imports(name)
        if not below(imported, package, *MAY_IMPORT[package]) and imported.split(".")[0] not in sys.stdlib_module_names
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", DOORS)
def test_heavy_packages_have_one_door(package):
    users = [name for name in sources() if any(below(imported, package) for imported in imports(name))]
    assert not [name for name in users if not below(name, *DOORS[package])]


def test_nothing_imports_scripts_tests_or_benchmarks():
    inside = {name: imports(name) for name in sources() if not below(name, "benchmark", "scripts")}
    assert not [n for n, found in inside.items() for i in found if below(i, *SCRIPTS, "tests", "benchmark", "scripts")]


def test_no_import_cycles():
    def module_of(imported: str) -> str:
        return imported if imported in sources() else imported.rpartition(".")[0]

    graph = {name: {module_of(i) for i in imports(name)} & sources().keys() - {name} for name in sources()}
    for name, reached in graph.items():  # a module that reaches itself
        seen, todo = set(), set(reached)
        while todo:
            seen |= todo
            todo = {other for one in todo for other in graph[one]} - seen
        assert name not in seen, f"{name} is part of a cycle"


def test_tests_mirror_the_folders():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.rglob("tests/**/test_*.py") if ".venv" not in path.parts}
    named = [folder.relative_to("tests") for folder in folders if folder != Path("tests")]
    assert not [str(folder) for folder in named if not (ROOT / folder).is_dir()]
