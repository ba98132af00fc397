"""Measures speed: python -m benchmark training | inference | joint | image_loss | preparation | ...

Each has its own options; see `python -m benchmark training --help`.
"""

import sys
from collections.abc import Callable, Sequence

from commands.errors import BAD_INPUT, MissingPackageError
from commands.run import run_command

# Modules beside this one.
NAMES = ("training", "inference", "joint", "image_loss", "preparation", "cold_start", "engine", "gpu_check")
USAGE = f"usage: python -m benchmark {{{','.join(NAMES)}}} [options]"
PEER = "diffusers"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them; 2 where none is named, and with one sentence where what is asked for cannot be measured."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if name not in NAMES:
        sys.stderr.write(USAGE + "\n")
        return 0 if name in ("-h", "--help") else BAD_INPUT

    def body() -> int | None:
        try:
            return find_command(name)(rest[:-1])
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != PEER:
                raise
            raise MissingPackageError(
                f"{PEER} is not installed, so nothing can be compared: pip install {PEER}."
            ) from error

    return run_command(f"python -m benchmark {name}", body, interrupted="interrupted; what is measured is written.")


def find_command(name: str) -> Callable[[Sequence[str]], int | None]:
    """The main function of one of NAMES; only its own imports are loaded."""
    match name:
        case "training":
            from benchmark import training as command
        case "inference":
            from benchmark import inference as command
        case "joint":
            from benchmark import joint as command
        case "image_loss":
            from benchmark import image_loss as command
        case "preparation":
            from benchmark import preparation as command
        case "cold_start":
            from benchmark import cold_start as command
        case "engine":
            from benchmark import engine as command
        case _:
            from benchmark import gpu_check as command
    return command.main


if __name__ == "__main__":
    sys.exit(main())
