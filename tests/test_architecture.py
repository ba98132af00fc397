"""The house's rules, read from the source: who may import whom, cycles, doors, docstrings, forbidden calls."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STANDARD = ("numpy", "PIL", "rich")
SCRIPTS = ("main", "edit_cli", "edit_app", "run_policy")
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
    "metrics": (*STANDARD, "torch", "einops", "commands", "formats", "ldm.modules.losses", "ldm.modules.encoders",
                "ldm.data.pixels", "matplotlib", "scipy", "yaml"),
}  # fmt: skip
PACKAGES = (*MAY_IMPORT, "benchmark", "scripts")  # benchmark and scripts import anything

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
    "lerobot": ("prediction.lerobot_policy",),
    "torchvision": (),
}  # fmt: skip
MAX_FUNCTION_LINES, MAX_ARGUMENTS = 60, 12
KNOWN = {  # dotted paths of the latent-diffusion repository that YAML files out there name
    "ldm.util": "instantiate_from_config get_obj_from_str",
    "ldm.models.diffusion.ddpm": "DDPM LatentDiffusion",
    "ldm.models.autoencoder": "AutoencoderKL VQModel",
    "ldm.modules.diffusionmodules.openaimodel": "UNetModel",
    "ldm.modules.encoders.modules": "FrozenCLIPEmbedder FrozenOpenCLIPEmbedder",
    "ldm.models.diffusion.ddim": "DDIMSampler",
    "ldm.modules.ema": "LitEma",
    "ldm.lr_scheduler": "LambdaLinearScheduler",
    "ldm.data.base": "DataModuleFromConfig",
}


@cache
def sources() -> dict[str, ast.Module]:
    """Dotted name to syntax tree of every module."""
    files = [ROOT / f"{name}.py" for name in SCRIPTS]
    files += [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    dotted = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files if path.is_file()}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text("utf-8")) for name, path in dotted.items()}


@cache
def imports(name: str) -> frozenset[str]:
    """Everything a module imports, inside functions too."""
    found = set()
    for node in ast.walk(sources()[name]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def below(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


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


def test_functions_are_short_and_take_few_arguments():
    allowed = {
        "UNetModel.__init__": 13,  # the published config's names, one for one
        "FrameLoss.__init__": 16,  # a weight and a node for each term
    }
    for name, tree in sources().items():
        classes = {id(f): c.name + "." for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(argument.arg not in ("self", "cls") for argument in arguments)
                label = classes.get(id(node), "") + node.name
                assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{name}.{label} is long"
                assert count <= allowed.get(label, MAX_ARGUMENTS), f"{name}.{label} takes {count} arguments"


def test_public_things_have_docstrings_and_init_files_nothing_else():
    for name, tree in sources().items():
        assert ast.get_docstring(tree), f"{name} has no docstring"
        if (ROOT / name.replace(".", "/")).is_dir() and name not in SCRIPTS:
            assert len(tree.body) == 1, f"{name}/__init__.py has more than a docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_no_forbidden_call():
    """print only in a command's main; no device literal; no unguarded load; no import of ours hidden in a string."""
    for name, tree in sources().items():
        mains = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name in ("main", "run")]
        in_main = {id(node) for f in mains for node in ast.walk(f)} if name not in SCRIPTS else set()
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called, where = ast.unparse(node.func), f"{name}:{node.lineno}"
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            assert called != "print" or id(node) in in_main or below(name, *SCRIPTS, "scripts"), f"{where} prints"
            assert not called.endswith(".cuda") or called.startswith("torch."), f"{where} .cuda()"
            assert called != "torch.load" or "weights_only" in {k.arg for k in node.keywords}, f"{where} torch.load"
            hidden = called.endswith(("get_obj_from_str", "import_module")) and below(str(first), *PACKAGES)
            assert not hidden, f"{where} hides an import in a string"


def test_tests_mirror_the_folders():
    folders = {path.parent.relative_to(ROOT) for path in ROOT.rglob("tests/**/test_*.py") if ".venv" not in path.parts}
    named = [folder.relative_to("tests") for folder in folders if folder != Path("tests")]
    assert not [str(folder) for folder in named if not (ROOT / folder).is_dir()]


def test_names_that_users_know():
    for module, names in KNOWN.items():
        assert set(names.split()) <= {node.name for node in sources()[module].body if hasattr(node, "name")}, module
    ours = [sources()[name] for name in sources() if below(name, "ldm.models")]
    methods = {node.name for tree in ours for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    kept = "get_input get_learned_conditioning encode_first_stage decode_first_stage apply_model p_losses q_sample"
    assert set(f"{kept} ema_scope log_images".split()) <= methods


def test_readme_and_contributing_say_what_the_packages_say():
    said = {package: ast.get_docstring(sources()[package]) for package in (*MAY_IMPORT, "benchmark")}
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        assert not [package for package, line in said.items() if f"| `{package}/` | {line} |" not in text], name
