"""The house's rules, read from the source: layers, cycles, sizes, twins, doors, docstrings."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ldm", "stable_diffusion", "dataset_tools", "metrics")
SCRIPTS = ("main", "edit_cli", "edit_app")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_ARGUMENTS = 12

# ldm's ground floor: what every package may import.
GROUND = (
    "ldm.util",
    "ldm.errors",
    "ldm.commit",
    "ldm.data.batch",
    "ldm.data.pixels",
    "ldm.data.manifest",
    "ldm.data.atomic",
)

# (who, never imports, except)
FORBIDDEN = [
    ("ldm.modules", ("pytorch_lightning", "omegaconf", "ldm.data", "ldm.models", "ldm.callbacks"), GROUND),
    ("ldm.data", ("ldm.models", "ldm.modules", "transformers", "ldm.callbacks"), ()),
    ("ldm.models", ("ldm.data", "ldm.callbacks", "ldm.predictor"), GROUND),
    ("ldm.models.diffusion.ddim", ("ldm.models.diffusion.ddpm",), ()),
    ("ldm.models.diffusion.guidance", ("ldm.models.diffusion.ddpm",), ()),
    ("ldm", ("stable_diffusion", "dataset_tools", "metrics"), ()),
    ("metrics", ("ldm", "dataset_tools", "stable_diffusion"), (*GROUND, "ldm.predictor")),
    ("dataset_tools", ("ldm", "metrics", "stable_diffusion", "torch"), GROUND),
    ("stable_diffusion", ("ldm", "metrics", "dataset_tools"), GROUND),
    ("", SCRIPTS + ("tests",), ()),
]

# heavy packages and the places that may import them
DOORS = {
    "h5py": ("dataset_tools.robotwin", "dataset_tools.simulator"),
    "mujoco": ("dataset_tools.simulator",),
    "transformers": ("ldm.modules.encoders", "metrics.clip_similarity"),
    "open_clip": ("ldm.modules.encoders",),
    "wandb": ("main", "ldm.callbacks"),
    "gradio": ("edit_app",),
    "torchvision": (),
}


@cache
def sources() -> dict[str, Path]:
    """Dotted name to file of every module."""
    found = {name: ROOT / f"{name}.py" for name in SCRIPTS if (ROOT / f"{name}.py").is_file()}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """Everything a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(sources()[name])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + ".")


def functions() -> list[tuple[str, ast.FunctionDef]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (name, node) for name, path in sources().items() for node in ast.walk(tree(path)) if isinstance(node, kinds)
    ]


@pytest.mark.parametrize(("who", "never", "exceptions"), FORBIDDEN, ids=[rule[0] or "everything" for rule in FORBIDDEN])
def test_layers_point_down(who, never, exceptions):
    wrong = [
        f"{name} imports {imported}"
        for name in sources()
        if below(name, who)
        for imported in imports(name)
        for banned in never
        if below(imported, banned)
        and not any(below(imported, e) or below(e, imported) for e in exceptions)
        and not below(name, imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", DOORS)
def test_heavy_packages_have_one_door(package):
    wrong = [
        name
        for name in sources()
        if any(below(imported, package) for imported in imports(name))
        and not any(name.startswith(door) for door in DOORS[package])
    ]
    assert not wrong, f"{package} is imported by {wrong}"


def test_no_import_cycles():
    graph = {name: {i for i in imports(name) if i in sources() and i != name} for name in sources()}
    done, stack = set(), []

    def visit(name):
        if name in stack:
            raise AssertionError("cycle: " + " -> ".join([*stack[stack.index(name) :], name]))
        if name in done:
            return
        stack.append(name)
        for other in sorted(graph[name]):
            visit(other)
        done.add(stack.pop())

    for name in graph:
        visit(name)


def test_no_package_cycles():
    """A package above another is never imported by it."""
    above = defaultdict(set)
    for name in sources():
        for imported in imports(name):
            top, other = name.split(".")[0], imported.split(".")[0]
            if other in PACKAGES and top in PACKAGES and top != other:
                above[top].add(other)
    assert not [(a, b) for a, others in above.items() for b in others if a in above.get(b, ())]


def test_files_are_short():
    tests = [path for path in (ROOT / "tests").rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*sources().values(), *tests]}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_FILE_LINES}


def test_functions_are_short():
    long = {f"{n}.{f.name}": f.end_lineno - f.lineno + 1 for n, f in functions()}
    assert not {name: length for name, length in long.items() if length > MAX_FUNCTION_LINES}


def test_functions_take_few_arguments():
    def count(function: ast.FunctionDef) -> int:
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        return sum(argument.arg not in ("self", "cls") for argument in arguments)

    many = {f"{n}.{f.name}": count(f) for n, f in functions()}
    # UNetModel's arguments are the published config's names, one for one.
    allowed = {"ldm.modules.diffusionmodules.openaimodel.__init__": 13}
    assert not {name: n for name, n in many.items() if n > allowed.get(name, MAX_ARGUMENTS)}


def test_every_public_thing_has_a_docstring():
    bare = []
    for name, path in sources().items():
        if not ast.get_docstring(tree(path)):
            bare.append(name)
        for node in tree(path).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                bare.append(f"{name}.{node.name}")
    assert not bare


def test_packages_have_no_print_no_cuda_literal_and_no_unguarded_load():
    wrong = []
    for name, path in sources().items():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "print" and name not in SCRIPTS:
                wrong.append(f"{name}:{node.lineno} print")
            if called.endswith(".cuda") and not called.startswith("torch."):
                wrong.append(f"{name}:{node.lineno} .cuda()")
            if called == "torch.load" and "weights_only" not in {keyword.arg for keyword in node.keywords}:
                wrong.append(f"{name}:{node.lineno} torch.load without weights_only")
    assert not wrong


def test_init_files_hold_one_docstring():
    for name, path in sources().items():
        if path.name == "__init__.py":
            assert len(tree(path).body) == 1, f"{name}/__init__.py has more than a docstring"


def test_every_source_file_has_its_twin():
    missing = []
    for path in sources().values():
        if path.name in ("__init__.py", "__main__.py"):
            continue
        relative = path.relative_to(ROOT)
        twin = ROOT / "tests" / relative.parent / f"test_{relative.name}"
        if not twin.is_file():
            missing.append(str(twin.relative_to(ROOT)))
    assert not missing, "\n".join(missing)


def test_names_that_users_know():
    """Dotted paths of the latent-diffusion repository that YAML files out there name."""
    known = {
        "ldm.util": ["instantiate_from_config", "get_obj_from_str"],
        "ldm.models.diffusion.ddpm": ["DDPM", "LatentDiffusion"],
        "ldm.models.autoencoder": ["AutoencoderKL", "VQModel"],
        "ldm.modules.diffusionmodules.openaimodel": ["UNetModel"],
        "ldm.modules.encoders.modules": ["FrozenCLIPEmbedder", "FrozenOpenCLIPEmbedder"],
        "ldm.models.diffusion.ddim": ["DDIMSampler"],
        "ldm.modules.ema": ["LitEma"],
        "ldm.lr_scheduler": ["LambdaLinearScheduler"],
        "ldm.data.base": ["DataModuleFromConfig"],
    }
    for module, names in known.items():
        defined = {node.name for node in tree(sources()[module]).body if hasattr(node, "name")}
        assert set(names) <= defined, module
    methods = {
        node.name
        for node in ast.walk(tree(sources()["ldm.models.diffusion.ddpm"]))
        if isinstance(node, ast.FunctionDef)
    }
    kept = "get_input get_learned_conditioning encode_first_stage decode_first_stage apply_model p_losses q_sample"
    assert set(f"{kept} ema_scope log_images".split()) <= methods
