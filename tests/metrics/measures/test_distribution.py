import numpy as np
import pytest
import torch

from metrics.measures.distribution import FeatureNetwork, frechet_distance, measure_fid, measure_kid
from tests.metrics.conftest import noisy_picture


def test_fid_of_two_gaussians_is_analytic():
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2."""
    mean, true_mean = np.array([1.0, 2.0, 0.0]), np.array([0.0, 0.0, 0.0])
    deviation, true_deviation = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])
    expected = 5.0 + np.sum((deviation - true_deviation) ** 2)
    found = frechet_distance(mean, np.diag(deviation**2), true_mean, np.diag(true_deviation**2))
    assert found == pytest.approx(expected)


def test_fid_of_samples_tends_to_the_gaussians():
    generator = np.random.default_rng(0)
    shifted = generator.normal(1.0, 1.0, (20000, 4))
    assert measure_fid(shifted, generator.normal(0.0, 1.0, (20000, 4))) == pytest.approx(4.0, abs=0.15)
    assert measure_fid(shifted, shifted) == pytest.approx(0.0, abs=1e-6)
    one, five = np.ones((1, 2)), np.ones((5, 2))
    assert np.isnan([measure_fid(one, five), measure_kid(one, five)]).all(), "one picture has no distribution"


def test_kid_is_unbiased_where_fid_is_not():
    """Samples of one distribution: the mean KID over many small sets is zero within its error."""
    generator = np.random.default_rng(1)
    values = [measure_kid(*generator.normal(size=(2, 12, 4))) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 300**0.5
    assert measure_kid(generator.normal(2, 1, (50, 4)), generator.normal(0, 1, (50, 4))) > 100


def test_features_come_from_a_torchscript_file_with_or_without_the_flag(tmp_path):
    class Means(torch.nn.Module):
        def forward(self, frames: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            if return_features:
                return frames.float().mean(dim=[2, 3])
            return torch.zeros(1, 1)

    torch.jit.script(Means()).save(tmp_path / "net.pt")
    network = FeatureNetwork(tmp_path / "net.pt")
    frame = noisy_picture(0)
    np.testing.assert_allclose(network.features(frame), frame.mean(axis=(0, 1)), rtol=1e-5)
    assert len(network.version) == 16
    (tmp_path / "bad.pt").write_text("no network")
    with pytest.raises(ValueError, match="is no TorchScript network"):
        FeatureNetwork(tmp_path / "bad.pt").features(frame)
