"""The source as syntax trees, for tests that hold the house's rules."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("main", "edit_cli", "edit_app", "run_policy")
PACKAGES = ("commands", "formats", "simulator", "dataset_tools", "ldm", "stable_diffusion", "prediction", "metrics")
OTHERS = ("benchmark", "scripts")  # they import anything


@cache
def sources() -> dict[str, ast.Module]:
    """Dotted name to syntax tree of every module."""
    files = [ROOT / f"{name}.py" for name in SCRIPTS]
    files += [path for package in (*PACKAGES, *OTHERS) for path in sorted((ROOT / package).rglob("*.py"))]
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
