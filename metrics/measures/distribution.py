"""FID and KID: do the predictions, as a set, look like true frames?

Sources: FID: Heusel et al. (arXiv 1706.08500), section 6; KID: Binkowski et al. (arXiv 1801.01401), section 4, with the
cubic kernel, unbiased. The features come from a TorchScript file that maps uint8 (B, 3, H, W) pictures to (B, D)
vectors, such as NVIDIA's inception-2015-12-05.pt; it is looked for in a folder and never downloaded.
Both say nothing about whether a prediction fits *its* truth, and FID is biased upwards for few pictures.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy import linalg

from commands.errors import UserError
from ldm.data.pixels import array_to_tensor

FEATURE_FILE = "inception-2015-12-05.pt"
KID_SCALE = 1000.0  # KID is printed in thousandths


def measure_fid(features: np.ndarray, true_features: np.ndarray) -> float:
    """Frechet distance of two sets of (N, D) features, taken as Gaussians; nan for fewer than two."""
    if min(len(features), len(true_features)) < 2:
        return float("nan")
    return frechet_distance(*_moments(features), *_moments(true_features))


def frechet_distance(
    mean: np.ndarray, covariance: np.ndarray, true_mean: np.ndarray, true_covariance: np.ndarray
) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians, by the eigenvalues of C C', which are not negative."""
    eigenvalues = linalg.eigvals(covariance @ true_covariance).real
    root_trace = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    distance = np.sum((mean - true_mean) ** 2) + np.trace(covariance) + np.trace(true_covariance) - 2.0 * root_trace
    return float(max(distance, 0.0))


def measure_kid(features: np.ndarray, true_features: np.ndarray) -> float:
    """Squared maximum mean discrepancy of (N, D) and (M, D) features, unbiased, in thousandths; may be negative."""
    n, m = len(features), len(true_features)
    if min(n, m) < 2:
        return float("nan")
    within = _kernel(features, features)
    within_true = _kernel(true_features, true_features)
    between = _kernel(features, true_features)
    discrepancy = (
        (within.sum() - np.trace(within)) / (n * (n - 1))
        + (within_true.sum() - np.trace(within_true)) / (m * (m - 1))
        - 2.0 * between.mean()
    )
    return float(KID_SCALE * discrepancy)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x . y / D + 1)^3: (N, M)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


@dataclass(frozen=True)
class FeatureNetwork:
    """Turns pictures into feature vectors with a TorchScript file."""

    path: Path

    @cached_property
    def version(self) -> str:
        """First digits of the file's SHA-256."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    @cached_property
    def network(self) -> torch.jit.ScriptModule:
        """The loaded network.

        Raises:
            UserError: if the file holds no TorchScript network.
        """
        try:
            return torch.jit.load(self.path, map_location="cpu").eval()
        except RuntimeError as error:
            raise UserError(f"{self.path} is no TorchScript network; wanted {FEATURE_FILE}.") from error

    @torch.no_grad()
    def features(self, pixels: np.ndarray) -> np.ndarray:
        """float64 (D,) of a uint8 (H, W, 3) picture."""
        batch = array_to_tensor(pixels)[None]
        wants_flag = "return_features" in str(self.network.forward.schema)  # NVIDIA's file gives logits without it
        output = self.network(batch, return_features=True) if wants_flag else self.network(batch)
        return output[0].double().numpy()
