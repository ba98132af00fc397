"""Laws of a run's figures and cases."""

from dataclasses import replace

import pytest
from PIL import Image

from formats.prepared_folder import FramePair, write_manifest
from metrics.comparison.pairs import read_pairs
from metrics.compute_metrics import main as compute_metrics
from metrics.reports.cases import choose_cases, find_cases, find_consecutive, open_pictures
from metrics.reports.figures import plot_curves
from metrics.reports.run_figures import make_run_figures, make_shared_grid, note_figures, write_figures
from metrics.reports.runs import Curve, Run, read_run
from tests.metrics.conftest import moving_square, noisy_picture


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


def test_consecutive_predictions_stand_under_their_truths(results):
    assert [entry["source_index"] for entry in find_consecutive(results, "model")] == [3, 4, 5]
    assert find_consecutive(results, "model", count=9) == []
    figures = dict(make_run_figures(read_run(str(results.folder))))
    titles = [axis.get_title() for axis in figures["consecutive"].axes]
    assert titles[:4] == ["input, frame 3", "frame 103", "frame 104", "frame 105"]


def test_horizons_become_a_curve(results):
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


@pytest.fixture
def results(tmp_path):
    """One episode, current frames 3..7, targets 100 later; the prediction gets worse with the frame."""
    folder, pairs = tmp_path / "d", []
    for frame in range(3, 8):
        sample = f"{frame:07d}"
        (folder / sample).mkdir(parents=True)
        for ending, picture in (("0", moving_square(0)), ("1", moving_square(7))):
            Image.fromarray(picture).save(folder / sample / f"000000_{ending}.png")
        pairs.append(
            FramePair(f"t/0/{frame}-{frame + 100}", sample, "000000", "go", ".png", "test", "t", 0, frame, frame + 100)
        )
        path = tmp_path / "p" / f"t/0/{frame}-{frame + 100}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = moving_square(7)
        picture[:, : 2 * frame] = noisy_picture(0)[:, : 2 * frame]
        Image.fromarray(picture).save(path)
    write_manifest(folder, pairs, {})
    arguments = ["--data", folder, "--predictions", f"model={tmp_path / 'p'}", "--output", tmp_path / "o"]
    assert compute_metrics([str(argument) for argument in arguments]) == 0
    return read_run(str(tmp_path / "o")).results[0]


def test_cases_are_best_median_and_worst(results):
    """pairs.jsonl holds the PSNR of a perfect prediction as "inf"; what is not known is no case."""
    pairs = [
        entry | {"psnr": {5: "inf", 3: "nan"}.get(entry["source_index"], entry["psnr"])} for entry in results.pairs
    ]
    for found, expected in ((results, (3, 5, 7)), (replace(results, pairs=tuple(pairs)), (5, 6, 7))):
        chosen = choose_cases(found, "model", "t")
        assert list(chosen) == ["best", "median", "worst"]
        assert tuple(entry["source_index"] for entry in chosen.values()) == expected
    assert choose_cases(results, "model", "absent") == {}


def test_pictures_are_found_again_through_table_json(results):
    cases = find_cases(results, open_pictures(results), "model", "t")
    assert [case.kind for case in cases] == ["best", "median", "worst"]
    assert (cases[0].source == moving_square(0)).all() and (cases[0].truth == moving_square(7)).all()
    assert (cases[2].prediction[:, 14:] == moving_square(7)[:, 14:]).all()


def test_fewer_pairs_than_kinds_are_shown_once(results):
    lines = [line for line in (results.folder / "pairs.jsonl").read_text().splitlines() if '"t/0/3-103"' in line]
    (results.folder / "pairs.jsonl").write_text("\n".join(lines))
    alone = read_run(str(results.folder)).results[0]
    assert len(choose_cases(alone, "model", "t")) == 1


def test_data_that_were_prepared_again_are_named(results, tmp_path):
    pairs = read_pairs(tmp_path / "d")
    write_manifest(tmp_path / "d", pairs[1:], {})
    with pytest.raises(ValueError, match="no longer has pair t/0/3-103"):
        open_pictures(results)
