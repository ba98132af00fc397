import math

from metrics.comparison.cache import CACHE_NAME, ScoreCache, default_cache_folder, result_id


def test_values_survive_the_process_including_inf_and_nan(tmp_path):
    values = {"psnr": math.inf, "ssim": 0.5, "psnr_motion": math.nan}
    with ScoreCache(tmp_path) as cache:
        cache.write("a", values)
    with ScoreCache(tmp_path) as cache:
        cache.write("a", {"ssim": 0.25})
        again = cache.read("a")
        assert cache.read("b") == {}
    assert again["psnr"] == math.inf and again["ssim"] == 0.25 and math.isnan(again["psnr_motion"])


def test_id_follows_everything_it_is_made_of():
    assert result_id(["a", 1]) == result_id(["a", 1]) != result_id(["a", 2])


def test_a_damaged_or_forbidden_cache_never_stops_a_measurement(tmp_path, caplog):
    (tmp_path / CACHE_NAME).write_bytes(b"no database" * 100)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "file"):
        with ScoreCache(folder) as cache:
            cache.write("a", {"psnr": 1.0})
            assert cache.read("a") == {}
    assert "results are not kept" in caplog.text


def test_no_folder_keeps_nothing(tmp_path):
    with ScoreCache(None) as cache:
        cache.write("a", {"psnr": 1.0})
        assert cache.read("a") == {}
    assert default_cache_folder().is_relative_to(tmp_path)
