"""Finds the networks that some measures need, and says which are missing.

Torch and transformers are imported by those only who ask for such a measure: a table of pixel measures starts in a
second. Nothing is downloaded and nothing is faked: a measure whose weights are absent is left out, with a sentence.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from formats.prepared_folder import FramePair
from metrics.measures.columns import DISTRIBUTION_KEYS, NETWORK_KEYS

if TYPE_CHECKING:
    from metrics.measures.distribution import FeatureNetwork

CLIP_FOLDER = "clip-vit-large-patch14"
FETCHED = Path("checkpoints")  # where `python -m stable_diffusion.weights fetch` puts files
LPIPS_SIDE = 32  # pixels
Folders = tuple[Path, ...]


class Meter(Protocol):
    """Measures that need more than pixels: a network."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the values that it gives."""

    @property
    def version(self) -> str:
        """Identity of the weights, on which the values depend besides the pictures."""

    def measure(self, pair: FramePair, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Values by key of a uint8 (H, W, 3) prediction."""


@dataclass(frozen=True)
class Networks:
    """Networks found for the measures of a comparison."""

    meters: tuple[Meter, ...]
    features: "FeatureNetwork | None"
    notes: tuple[str, ...]  # weights in use, measures left out

    @property
    def keys(self) -> tuple[str, ...]:
        """Measures that can be made."""
        found = tuple(key for meter in self.meters for key in meter.keys)
        return found + (DISTRIBUTION_KEYS if self.features else ())


def default_weights_folder() -> Path:
    """Where torchvision and torch.hub keep weights: $TORCH_HOME/hub/checkpoints."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"


def find_networks(keys: Iterable[str], folder: Path | None = None) -> Networks:
    """Meters for those of `keys` that need a network.

    Args:
        keys: measures; pixel measures are passed over.
        folder: where weights lie; None means torch.hub's folder, then checkpoints/.
    """
    wanted = set(keys)
    if not wanted & {*NETWORK_KEYS, *DISTRIBUTION_KEYS}:
        return Networks((), None, ())
    folders = _places(folder)
    meters, notes = _find_lpips(wanted, folders)
    clip, clip_notes = _find_clip(wanted, folders)
    features, feature_notes = _find_features(wanted, folders)
    return Networks((*meters, *clip), features, (*notes, *clip_notes, *feature_notes))


def find_lpips_at_hand(folder: Path | None, side: int) -> tuple[str, ...]:
    """LPIPS by the trunk whose weights are there, AlexNet's (a twentieth of the time) before VGG's; none for neither.

    Args:
        folder: as of find_networks.
        side: of the pictures in pixels; below LPIPS_SIDE a trunk has nothing to see.
    """
    folders = _places(folder)
    if side < LPIPS_SIDE or not any(file for place in folders for file in place.glob("*.pth")):
        return ()
    from metrics.measures.perceptual import TRUNK_FILES  # noqa: PLC0415 - imports torch

    found = [f"lpips_{name}" for name in ("alex", "vgg") if _holder_of(TRUNK_FILES[name], folders)]
    return tuple(found[:1])


def _places(folder: Path | None) -> Folders:
    return (folder,) if folder else (default_weights_folder(), FETCHED)


def _holder_of(file: str, folders: Folders) -> Path | None:
    return next((folder for folder in folders if (folder / file).is_file()), None)


def _say(folders: Folders) -> str:
    return " and ".join(str(folder) for folder in folders)


def _find_lpips(wanted: set[str], folders: Folders) -> tuple[list[Meter], list[str]]:
    from metrics.measures.perceptual import TRUNK_FILES, Lpips  # noqa: PLC0415 - imports torch

    meters: list[Meter] = []
    notes = []
    for name, file in TRUNK_FILES.items():
        if f"lpips_{name}" in wanted:
            folder = _holder_of(file, folders)
            if folder is not None:
                meters.append(Lpips(name, folder))
                notes.append(f"LPIPS {name}: trunk {file}, SHA-256 {meters[-1].version}; heads version 0.1.")
            else:
                fetch = "; python -m stable_diffusion.weights fetch vgg16" if name == "vgg" else ""
                notes.append(
                    f"LPIPS {name} is left out: {file} is absent from {_say(folders)} (torchvision's file{fetch}); "
                    f"lpips_{name}_random measures with a random trunk."
                )
        if f"lpips_{name}_random" in wanted:
            meters.append(Lpips(name))
            notes.append(
                f"LPIPS {name} (random trunk): untrained features, {meters[-1].version}; "
                "not comparable with published LPIPS."
            )
    return meters, notes


def _find_clip(wanted: set[str], folders: Folders) -> tuple[list[Meter], list[str]]:
    if not wanted & {"clip_text", "clip_image"}:
        return [], []
    from metrics.measures.clip_similarity import MODEL_NAME, ClipSimilarity  # noqa: PLC0415 - imports transformers

    places = [folder / CLIP_FOLDER for folder in folders]
    for source in (*(str(place) for place in places if _has_model(place)), MODEL_NAME):
        meter = ClipSimilarity(source)
        try:
            _ = meter.model
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
        else:
            return [meter], [f"CLIP similarity: {meter.version}."]
    return [], [
        f"CLIP similarity is left out: neither {' nor '.join(map(str, places))} (config.json and weights) nor "
        f"the cache has {MODEL_NAME} ({reason})."
    ]


def _has_model(folder: Path) -> bool:
    """Whether a folder has more than a tokenizer."""
    weights = (path for ending in ("safetensors", "bin") for path in folder.glob(f"*.{ending}"))
    return (folder / "config.json").is_file() and any(weights)


def _find_features(wanted: set[str], folders: Folders) -> tuple["FeatureNetwork | None", list[str]]:
    if not wanted & set(DISTRIBUTION_KEYS):
        return None, []
    from metrics.measures.distribution import FEATURE_FILE, FeatureNetwork  # noqa: PLC0415 - imports torch

    folder = _holder_of(FEATURE_FILE, folders)
    if folder is None:
        return None, [
            f"FID and KID are left out: {FEATURE_FILE} is absent from {_say(folders)} (TorchScript Inception, uint8 "
            "pictures to features)."
        ]
    network = FeatureNetwork(folder / FEATURE_FILE)
    return network, [f"FID, KID: {FEATURE_FILE}, SHA-256 {network.version}; FID is biased upwards for few pictures."]
