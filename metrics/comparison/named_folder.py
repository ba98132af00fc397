"""Arguments of the form folder or name=folder. Standard library only."""

from pathlib import Path


def parse_named_folder(argument: str) -> tuple[str | None, Path]:
    """ "a=runs/x" => ("a", runs/x); "runs/x" => (None, runs/x). A folder that exists may have a "=" in its name."""
    name, found, folder = argument.partition("=")
    if not found or Path(argument).exists():
        return None, Path(argument)
    return name, Path(folder)
