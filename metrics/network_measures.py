"""Finds the networks that some measures need, and says which are missing. Layer 1.

Torch and transformers are imported by those only who ask for such a measure: a table of pixel measures starts in a
second. Nothing is downloaded and nothing is faked: a measure whose weights are absent is left out, with a sentence.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metrics.measures import DISTRIBUTION_KEYS, NETWORK_KEYS
from metrics.scoring import Meter

if TYPE_CHECKING:
    from metrics.distribution import FeatureNetwork

CLIP_FOLDER = "clip-vit-large-patch14"


@dataclass(frozen=True)
class Networks:
    """What was found for the measures that were asked for."""

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
        folder: where weights lie; None means torch.hub's folder.
    """
    wanted = set(keys)
    if not wanted & {*NETWORK_KEYS, *DISTRIBUTION_KEYS}:
        return Networks((), None, ())
    folder = folder or default_weights_folder()
    meters, notes = _find_lpips(wanted, folder)
    clip, clip_notes = _find_clip(wanted, folder)
    features, feature_notes = _find_features(wanted, folder)
    return Networks((*meters, *clip), features, (*notes, *clip_notes, *feature_notes))


def _find_lpips(wanted: set[str], folder: Path) -> tuple[list[Meter], list[str]]:
    from metrics.perceptual import TRUNK_FILES, Lpips  # noqa: PLC0415 - imports torch

    meters: list[Meter] = []
    notes = []
    for name, file in TRUNK_FILES.items():
        if f"lpips_{name}" in wanted:
            if (folder / file).is_file():
                meters.append(Lpips(name, folder))
                notes.append(f"LPIPS {name}: trunk {file}, SHA-256 {meters[-1].version}; heads version 0.1.")
            else:
                notes.append(
                    f"LPIPS {name} is left out: {folder / file} is absent (torchvision's file); "
                    f"lpips_{name}_random measures with a random trunk."
                )
        if f"lpips_{name}_random" in wanted:
            meters.append(Lpips(name))
            notes.append(
                f"LPIPS {name} (random trunk): untrained features, {meters[-1].version}; "
                "not comparable with published LPIPS."
            )
    return meters, notes


def _find_clip(wanted: set[str], folder: Path) -> tuple[list[Meter], list[str]]:
    if not wanted & {"clip_text", "clip_image"}:
        return [], []
    from metrics.clip_similarity import MODEL_NAME, ClipSimilarity  # noqa: PLC0415 - imports transformers

    source = str(folder / CLIP_FOLDER) if (folder / CLIP_FOLDER).is_dir() else MODEL_NAME
    meter = ClipSimilarity(source)
    try:
        _ = meter.model
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        return [], [
            f"CLIP similarity is left out: neither {folder / CLIP_FOLDER} nor the cache has {MODEL_NAME} ({reason})."
        ]
    return [meter], [f"CLIP similarity: {meter.version}."]


def _find_features(wanted: set[str], folder: Path) -> tuple["FeatureNetwork | None", list[str]]:
    if not wanted & set(DISTRIBUTION_KEYS):
        return None, []
    from metrics.distribution import FEATURE_FILE, FeatureNetwork  # noqa: PLC0415 - imports torch

    path = folder / FEATURE_FILE
    if not path.is_file():
        return None, [
            f"FID and KID are left out: {path} is absent (TorchScript Inception, uint8 pictures to features)."
        ]
    network = FeatureNetwork(path)
    return network, [f"FID, KID: {FEATURE_FILE}, SHA-256 {network.version}; FID is biased upwards for few pictures."]
