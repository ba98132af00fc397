"""How every command ends: log lines and one sentence on stderr, and an exit code. Standard library and rich."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from commands.errors import BAD_INPUT, INTERRUPTED, TRAINING_MEMORY, sentence_for

Item = TypeVar("Item")

GO_ON = "interrupted; run the same command again to go on."
WORKER_LOST = "a worker was killed, most likely for memory; what is done is kept, so go on with --workers 1."


def run_command(
    name: str,
    body: Callable[[], int | None],
    *,
    interrupted: str = GO_ON,
    out_of_memory: str = TRAINING_MEMORY,
    level: int = logging.INFO,
) -> int:
    """Run a command's body and return the exit code; bad input becomes one sentence on stderr and the code 2.

    Heavy packages are imported inside `body`, so that Ctrl-C while they load is answered like any other.

    Args:
        name: the command as a user types it, such as `edit_cli.py`; the sentence begins with it.
        body: the command; returns its exit code, or None for 0.
        interrupted: what Ctrl-C is answered with.
        out_of_memory: the mend where the GPU's memory is too small.
        level: lowest level of log lines that are shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root, level_before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(level)
    code = BAD_INPUT
    try:
        return body() or 0
    except KeyboardInterrupt:
        sentence, code = interrupted, INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        return BAD_INPUT
    except Exception as error:
        is_pool = type(error).__name__ == "BrokenProcessPool"  # whose module takes long to import
        if (sentence := WORKER_LOST if is_pool else sentence_for(error, out_of_memory)) is None:
            raise  # a fault of ours: its traceback is wanted
    finally:
        root.removeHandler(handler)
        root.setLevel(level_before)
    readable = sentence.encode("utf-8", "backslashreplace").decode("utf-8")  # a name may hold half letters
    sys.stderr.write(f"{name}: {readable}\n")
    return code


def show_progress(steps: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The steps themselves, with a bar on the error stream where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(steps, what, total=total, console=console, transient=True, disable=not console.is_terminal)
