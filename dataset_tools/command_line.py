"""What the commands share: arguments that say which episodes, and one sentence instead of a traceback. Layer 1."""

import argparse
import logging
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dataset_tools.episode import Episode, EpisodeError
from dataset_tools.readers import LAYOUTS, find_episodes
from ldm.errors import BAD_INPUT, sentence_for

INTERRUPTED = 130  # exit code that shells give for Ctrl-C


@dataclass
class Status:
    """Exit code of a command."""

    code: int = 0


@contextmanager
def exit_code_of(command: str, output: Path) -> Iterator[Status]:
    """Run a command's body with its log lines on stderr; bad input becomes one sentence there and the code 2."""
    status = Status()
    code = BAD_INPUT
    handler = logging.StreamHandler(sys.stderr)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield status
        return
    except EpisodeError as error:
        sentence = str(error)
    except KeyboardInterrupt:
        sentence, code = "interrupted; run the same command again to go on.", INTERRUPTED
    except BrokenProcessPool:
        sentence = "a worker was killed, most likely for memory; what is done is kept, so go on with --workers 1."
    except OSError as error:
        # Ours carry their sentence and no number; the system's carry a number and no mend.
        mend = f"{error.filename or output}: {error.strerror}; choose another --output or free space."
        sentence = str(error) if error.errno is None else mend
    except Exception as error:
        if (sentence := sentence_for(error)) is None:
            raise  # a fault of ours: its traceback is wanted
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    status.code = code
    Console(stderr=True).print(f"{command}: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Which episodes to read."""
    add = parser.add_argument_group("episodes").add_argument
    add("--episodes", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of episodes, or hdf5 files")
    add("--format", choices=("auto", *LAYOUTS), default="auto", help="layout of the folders (default: found out)")
    add("--camera", nargs="+", default=[None], help="one or more cameras (default: the head camera)")
    add("--save-freq", type=int, help="RoboTwin's physics steps (1/250 s) per saved frame, where the files do not say")


def read_episodes(args: argparse.Namespace) -> list[Episode]:
    """Episodes of all folders and cameras asked for, by task, then number."""
    episodes = [
        episode
        for folder in args.episodes
        for camera in args.camera
        for episode in find_episodes(folder, layout=args.format, camera=camera, save_freq=args.save_freq)
    ]
    return sorted(episodes, key=lambda episode: (episode.task, episode.number))
