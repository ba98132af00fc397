"""Command-line arguments for the episodes to read, shared by all commands."""

import argparse
from pathlib import Path

from dataset_tools.readers.detect import LAYOUTS, ReadingRequest


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --episodes, --format, --camera and --save-freq."""
    add = parser.add_argument_group("episodes").add_argument
    add("--episodes", type=Path, nargs="+", required=True, metavar="FOLDER", help="folders of episodes, or hdf5 files")
    add("--format", choices=("auto", *LAYOUTS), default="auto", help="layout of the folders (default: found out)")
    add("--camera", nargs="+", default=[None], help="one or more cameras (default: the head camera)")
    add("--save-freq", type=int, help="RoboTwin's physics steps (1/250 s) per saved frame, where the files do not say")


def reading_request(args: argparse.Namespace) -> ReadingRequest:
    """The request made from those arguments."""
    return ReadingRequest(tuple(args.episodes), args.format, tuple(args.camera), args.save_freq)
