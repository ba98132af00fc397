from metrics.paper_figures import make_run_figures, write_figures
from metrics.runs import Curve, Run, read_run
from tests.metrics.test_cases import results  # noqa: F401 - a fixture


def test_a_run_gets_the_figures_that_it_has_data_for(run_folder):
    names = [name for name, _ in make_run_figures(read_run(str(run_folder)))]
    assert names[:2] == ["loss", "gpu_memory"]
    assert "ablation_psnr_by_epoch" in names and "ablation_ssim_by_epoch" in names
    assert {"histogram_psnr_metrics_epoch_10", "grid_metrics_epoch_2"} <= set(names)
    assert not any(name.startswith(("horizon", "consecutive", "gpu_util")) for name in names)


def test_ablation_orders_checkpoints_by_number_not_by_name(run_folder):
    figures = dict(make_run_figures(read_run(str(run_folder))))
    (line, *_) = figures["ablation_psnr_by_epoch"].axes[0].lines
    assert list(line.get_xdata()) == [2, 10]


def test_consecutive_predictions_stand_under_their_truths(results):  # noqa: F811
    figures = dict(make_run_figures(read_run(str(results.folder))))
    titles = [axis.get_title() for axis in figures["consecutive"].axes]
    assert titles[:4] == ["input, frame 3", "frame 103", "frame 104", "frame 105"]


def test_horizons_become_a_curve(results):  # noqa: F811
    pairs = tuple(
        entry | {"target_index": entry["source_index"] + 10 * entry["source_index"]} for entry in results.pairs
    )
    run = Run("r", results.folder, (type(results)(".", results.folder, results.table, pairs),))
    line = dict(make_run_figures(run))["horizon_psnr"].axes[0].lines[0]
    assert list(line.get_xdata()) == [30, 40, 50, 60, 70]


def test_figures_are_written_under_the_runs_label(tmp_path):
    run = Run("my run/1", tmp_path, curves={"gpu_0_util": Curve((0.0, 1.0), (50.0, 90.0))})
    files = write_figures([run], tmp_path / "o")
    assert [file.name for file in files] == ["my_run_1_gpu_utilisation.png", "my_run_1_gpu_utilisation.pdf"]
