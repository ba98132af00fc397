"""What a machine can check of how code looks here: lengths, docstrings, forbidden calls, names that users know."""

import ast

from tests.source_tree import OTHERS, PACKAGES, ROOT, SCRIPTS, below, sources

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


def test_functions_are_short_and_take_few_arguments():
    allowed = {
        "UNetModel.__init__": 14,  # the published config's names, one for one
        "JointVideoAction.__init__": 13,  # a node for each part, and what trains it
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
            hidden = called.endswith(("get_obj_from_str", "import_module")) and below(str(first), *PACKAGES, *OTHERS)
            assert not hidden, f"{where} hides an import in a string"


def test_names_that_users_know():
    for module, names in KNOWN.items():
        assert set(names.split()) <= {node.name for node in sources()[module].body if hasattr(node, "name")}, module
    ours = [sources()[name] for name in sources() if below(name, "ldm.models")]
    methods = {node.name for tree in ours for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    kept = "get_input get_learned_conditioning encode_first_stage decode_first_stage apply_model p_losses q_sample"
    assert set(f"{kept} ema_scope log_images".split()) <= methods


def test_readme_and_contributing_say_what_the_packages_say():
    said = {package: ast.get_docstring(sources()[package]) for package in (*PACKAGES, "benchmark")}
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        assert not [package for package, line in said.items() if f"| `{package}/` | {line} |" not in text], name
