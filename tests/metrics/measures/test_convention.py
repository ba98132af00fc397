import pytest

from metrics.measures.convention import AS_PUBLISHED, AS_PUBLISHED_GAIN, PROPER


def test_gain_is_the_ratio_of_the_data_ranges():
    """[0, 1] pictures scored with 255 gain 48.13 dB."""
    assert pytest.approx(48.1308, abs=1e-4) == AS_PUBLISHED_GAIN
    assert AS_PUBLISHED.data_range == 255 * PROPER.data_range
