from metrics.reports.figures import plot_curves
from metrics.reports.run_figures import make_run_figures, make_shared_grid, note_figures, write_figures
from metrics.reports.runs import Curve, Run, read_run
from tests.metrics.reports.test_cases import results  # noqa: F401 - a fixture


def test_a_run_gets_the_figures_that_it_has_data_for(run_folder):
    names = [name for name, _ in make_run_figures(read_run(str(run_folder)))]
    assert names[:2] == ["loss", "gpu_memory"]
    assert "ablation_psnr_by_epoch" in names and "ablation_ssim_by_epoch" in names
    assert {"histogram_psnr_metrics_epoch_10", "grid_metrics_epoch_2"} <= set(names)
    assert not any(name.startswith(("horizon", "consecutive", "gpu_util")) for name in names)


def test_what_gpu_stats_logs_is_drawn(tmp_path):
    """The columns of metrics.csv as ldm.callbacks.gpu_stats and Lightning's CSVLogger write them."""
    head = "epoch,gpu/memory_allocated_gib,gpu/memory_peak_gib,gpu/utilization_percent,step,train/loss"
    (tmp_path / "metrics.csv").write_text(
        "\n".join([head, "0,1.5,2.5,80.0,50,", "0,,,,50,0.1", "0,1.5,2.75,90.0,100,"])
    )
    run = read_run(str(tmp_path))
    figures = dict(make_run_figures(run))
    (peak,) = [line for line in figures["gpu_memory"].axes[0].lines if line.get_label() == "gpu/memory_peak_gib"]
    assert list(peak.get_xdata()) == [50, 100] and list(peak.get_ydata()) == [2.5, 2.75]
    (utilisation,) = figures["gpu_utilisation"].axes[0].lines
    assert list(utilisation.get_ydata()) == [80, 90]
    assert note_figures(run) == []


def test_a_run_without_a_gpu_is_said_to_have_no_such_figure(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n0,50,0.1\n")
    run = read_run(f"small={tmp_path}")
    assert [name for name, _ in make_run_figures(run)] == ["loss"]
    (note,) = note_figures(run)
    assert "small: no figure of GPU memory and utilisation" in note
    assert note_figures(Run("scored only", tmp_path)) == []


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


def test_runs_stand_side_by_side_on_a_pair_that_all_have(run_folder, tmp_path):
    runs = [read_run(f"{name}={run_folder / 'metrics' / f'epoch={n}'}") for name, n in (("early", 2), ("late", 10))]
    titles = [axis.get_title() for axis in make_shared_grid(runs).axes]
    assert titles[:4] == ["input", "early", "late", "truth"] and len(titles) == 2 * 4
    assert make_shared_grid(runs[:1]) is None and make_shared_grid([runs[0], Run("empty", tmp_path)]) is None


def test_long_curves_are_shown_raw_and_smoothed_unless_they_were_smoothed():
    curve = Curve(tuple(range(60)), tuple(range(60)))
    lines = plot_curves({"train/loss": curve, "train/loss_smoothed": curve}, "loss").axes[0].lines
    assert [list(line.get_ydata()) == list(curve.values) for line in lines] == [True, False, True]
    assert lines[0].get_alpha() < 1 and "running mean of 50" in lines[1].get_label()
