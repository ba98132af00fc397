import pytest

from metrics.measures.columns import MEASURES, parse_measures, with_as_published


def test_as_published_never_stands_alone():
    assert with_as_published(("ssim", "psnr_motion")) == ("ssim", "ssim_as_published", "psnr_motion")
    assert parse_measures("psnr_as_published,ssim") == ("psnr", "psnr_as_published", "ssim")


def test_headings_say_which_way_is_better():
    assert MEASURES["psnr"].heading == "PSNR dB ↑"
    assert MEASURES["block_error"].heading == "Block error px ↓"


def test_unknown_measure_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="no measure 'pnsr'; there are psnr, ssim"):
        parse_measures("pnsr")
