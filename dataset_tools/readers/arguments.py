"""The arguments by which every command says which episodes to read."""

import argparse
from pathlib import Path

from dataset_tools.episode import Episode
from dataset_tools.readers.detect import LAYOUTS, find_episodes


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --episodes, --format, --camera and --save-freq."""
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
