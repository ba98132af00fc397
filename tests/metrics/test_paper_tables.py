import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ldm.training.config import compose
from metrics.compute_metrics import main as compute_metrics
from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.paper_tables import lay_out, main, note_tables, to_csv, to_markdown
from metrics.reports.paper_numbers import read_papers
from metrics.reports.run_facts import find_fact
from metrics.reports.runs import Curve, Run, read_run
from tests.metrics.conftest import moving_square

PAPERS = read_papers()
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
AFP_LOSS = {"params": {"frame_loss_config": {"params": {"lambda_lpips": 0.1, "lambda_l1": 0.1}}}}


@pytest.fixture
def scored(run_folder, tmp_path):
    """Tables of a run without its config, so that it may be any recipe's."""
    folder = tmp_path / "scored"
    shutil.copytree(run_folder / "metrics", folder / "metrics")
    return folder


def test_a_cell_has_printed_as_published_and_proper(scored):
    """Without being asked for: compute_metrics keeps both conventions of every pair."""
    table = lay_out(PAPERS["afp"], [read_run(str(scored))])[0]
    hammer, _, stack, mean, *copied = table.rows
    assert hammer[:2] == ("block_hammer_beat", "0.97") and hammer[4] == "38.5"
    published, proper = float(hammer[5]), float(hammer[6].split()[0])
    assert published - proper == pytest.approx(AS_PUBLISHED_GAIN, abs=0.02)
    assert float(hammer[2].split()[0]) > float(hammer[3].split()[0]) > 0
    assert stack[1:] == ("0.95", "-", "-", "37.8", "-", "-", "-")  # the run has no such task
    assert mean[-1] == "6"
    assert copied[0][0] == "copy the input, pairs of afp, block_hammer_beat" and copied[0][1] == "-"


def test_the_copied_input_is_scored_on_the_runs_pairs(pair_folder, predict, tmp_path):
    """Of episode 2 alone, where the block moves a pixel more than in episode 0."""
    data = pair_folder()
    output = predict(data, lambda pair: moving_square(7) if pair.episode == 2 else None)
    arguments = ["--data", data, "--predictions", output, "--output", tmp_path / "o", "--no-cache"]
    assert compute_metrics([str(argument) for argument in arguments]) == 0
    run = read_run(str(tmp_path / "o"))
    table = lay_out(PAPERS["afp"], [run])[0]
    assert [row[-1] for row in table.rows[4:]] == ["1", "1", "2"]
    entries = {entry["pair_id"]: entry for entry in run.results[0].pairs if entry["row"] == "copy the input"}
    assert float(table.rows[4][6]) == pytest.approx(entries["block_hammer_beat/2/0-50"]["psnr"], abs=0.01)


def test_a_run_takes_the_rows_of_its_recipe_only(scored):
    table = lay_out(PAPERS["acp"], [read_run(f"Training 2={scored}")])[0]
    filled = [row[0] for row in table.rows if row[6] != "-"]
    assert filled[:2] == ["Training_2_block_hammer_beat", "Training_2_handover_blocks"]
    with pytest.raises(ValueError, match="the run 'x' is no recipe of acp; give --runs \"Original FT=<folder>\""):
        lay_out(PAPERS["acp"], [read_run(f"x={scored}")])


def test_a_run_of_another_recipe_is_refused(scored):
    def with_config(model):
        (scored / "config.yaml").write_text(yaml.safe_dump({"model": model}))
        return [read_run(str(scored))]

    assert lay_out(PAPERS["afp"], with_config(AFP_LOSS))[0].rows[0][-1] == "3"
    with pytest.raises(ValueError, match="another recipe than afp's: its config has no .*lambda_lpips"):
        lay_out(PAPERS["afp"], with_config({"params": {"frame_loss_config": None}}))
    one_step = {"params": AFP_LOSS["params"] | {"training_steps": 1}}
    with pytest.raises(ValueError, match="another recipe than afp's: its config has model.params.training_steps"):
        lay_out(PAPERS["afp"], with_config(one_step))


def test_checkpoints_of_a_run_fill_the_rows_of_their_epochs(scored, pair_folder, predict, tmp_path):
    """Scored one by one into folders, or in one call as rows."""
    tables = lay_out(PAPERS["light_future"], [read_run(f"stage 2={scored}")])
    rows = {row[0]: row for table in tables if table.title.startswith("light_future, table 3") for row in table.rows}
    gain = next(table.rows[1] for table in tables if "section 5.9" in table.title)
    proper = {name: float(rows[f"{name} epochs"][6].split()[0]) for name in ("2", "10")}
    assert float(gain[6]) == pytest.approx(proper["10"] - proper["2"], abs=0.01) and gain[4] == "+1.37"
    data = pair_folder(num_episodes=1)
    folders = [f"epoch-{n}={predict(data, lambda pair, n=n: moving_square(n // 8), f'e{n}')}" for n in (10, 50)]
    arguments = ["--data", data, "--predictions", *folders, "--output", tmp_path / "one", "--no-cache"]
    assert compute_metrics([str(argument) for argument in arguments]) == 0
    table = lay_out(PAPERS["light_future"], [read_run(f"stage 1={tmp_path / 'one'}")])[2]
    assert [row[-1] for row in table.rows[:2]] == ["2", "2"] and table.rows[0][6] != table.rows[1][6]


def test_a_pre_evaluation_is_a_row_with_a_printed_range(scored):
    tables = lay_out(PAPERS["light_future"], [read_run(f"pre-evaluation={scored}")])
    row = tables[0].rows[0]
    assert (row[1], row[4], row[-1]) == ("0.65-0.85", "11-16", "6")


@pytest.mark.parametrize("paper", PAPERS)
def test_without_runs_the_printed_numbers_stand_alone_and_the_commands_are_said(paper, capsys, monkeypatch):
    tables = lay_out(PAPERS[paper], [])
    assert all(len(row) == len(table.headings) for table in tables for row in table.rows)
    assert PAPERS[paper].title in to_markdown(PAPERS[paper], tables, note_tables(PAPERS[paper], []))
    assert len(list(csv.reader(io.StringIO(to_csv(tables))))) == sum(1 + len(table.rows) for table in tables)
    assert main([paper, "--commands"]) == 0
    said = capsys.readouterr().out
    assert f"python -m metrics.paper_tables {paper} --runs" in said and "edit_cli.py" in said
    monkeypatch.setenv("COLUMNS", "80")
    assert main([paper]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80, "a terminal of 80 columns has every word"
    assert {word for table in tables for row in table.rows for cell in row for word in cell.split()} <= set(
        printed.split()
    )


def test_facts_come_from_config_run_benchmark_and_curves(run_folder):
    run = read_run(str(run_folder))
    facts = {
        "{config.resolution}": "16",
        "AdamW, learning rate {config.model.params.learning_rate}": "AdamW, learning rate 0.0001",
        "{config.model.absent.x}": "-",
        "{part.device}, {part.absent}": "-",
        "{epochs} epochs, {epoch_seconds} seconds each": "2 epochs, 1.5 seconds each",
        "{benchmark.parameters}": "1.2M",
        "{peak_memory} GiB": "3.5 GiB",
        "{curve.train/loss_simple}": "0.005236",
        "{data}": "data",
        "{tasks}": "block_hammer_beat, block_handover",
        "{trained_parameters}": "-",
        None: "-",
    }
    assert {source: find_fact(run, source) for source in facts} == facts
    assert find_fact(Run("empty", run_folder), "{psnr}") == "-"
    published, proper = find_fact(run, "{psnr}").replace("(", "").split(" as published ")
    assert float(published) - float(proper.split()[0]) == pytest.approx(AS_PUBLISHED_GAIN, abs=0.02)
    assert " as published (" in find_fact(run, "{task_ssim}") and find_fact(run, "{copied_ssim}").endswith("proper)")


def test_morpheus_facts_are_those_of_the_run(tmp_path):
    """The flip of the augmentation, trained parameters and not all, and the batch over accumulation and devices."""
    augmentation = {"augmentation_config": {"params": {"flip": 0.1}}}
    config = {
        "resolution": 32,
        "data": {"params": {"batch_size": 2, "train": {"params": augmentation}}},
        "lightning": {"trainer": {"accumulate_grad_batches": 8}},
    }
    part = {"num_devices": 2, "trained_parameters": 859_532_484, "samples": 602}
    run = Run("r", tmp_path, facts={"parts": [part]}, benchmark={"parameters": "1066M"}, config=config)
    (table,) = [t for t in lay_out(PAPERS["morpheus"], [replace(run, config={})]) if "table 3" in t.title]
    assert {row[0]: row[2] for row in table.rows}["Trainable params"] == "859.5M"
    sheet = next(sheet for sheet in PAPERS["morpheus"].sheets if sheet.number == "table 3")
    found = {row[0]: find_fact(run, source) for row, source in zip(sheet.facts, sheet.sources, strict=True)}
    assert found["Processing"] == "32x32 resolution, random flip rate 10%"
    assert found["Batch size"] == "2 x 8 accumulated x 2 devices = 32" and found["Composition"] == "602"
    assert find_fact(run, "{max_samples}") == "None"


def test_command_prints_and_writes(scored, tmp_path, capsys):
    run = scored / "metrics" / "epoch=10"
    assert main(["morpheus", "--runs", f"ours={run}", "--output", str(tmp_path / "o")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "as published (60 to 62 dB are not possible" in printed
    assert "no figure of consecutive predictions (light_future, figure 7)" in printed
    assert "has no config.yaml, so that its recipe cannot be checked" in printed
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"tables.md", "tables.csv", "ours_histogram_psnr.png", "ours_grid.pdf"} <= names
    assert main(["afp", "--runs", str(tmp_path / "absent")]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_a_resumed_run_took_the_seconds_of_all_its_parts_and_the_peak_of_the_callbacks_curve(tmp_path):
    parts = [{"device": "A", "seconds": 2.5}, {"device": "A"}, {"device": "B", "seconds": 1.0}]
    values = {"memory_allocated_gib": 9.0, "memory_peak_gib": 17.7}
    curves = {f"gpu/{name}": Curve((1.0,), (value,)) for name, value in values.items()}
    run = Run("resumed", tmp_path, facts={"parts": parts}, curves=curves)
    assert find_fact(run, "{part.device}: {seconds} seconds, {peak_memory} GiB") == "B: 3.5 seconds, 17.7 GiB"
    assert find_fact(Run("unknown", tmp_path), "{seconds}") == "-"


def test_tables_of_before_the_kinds_are_read(scored):
    """Neither kinds of rows nor the as-published SSIM of each pair: the first follow from names, the second is said."""
    folder = scored / "metrics" / "epoch=2"
    table = json.loads((folder / "table.json").read_text())
    for line in table["lines"]:
        del line["kind"]
    (folder / "table.json").write_text(json.dumps(table))
    entries = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    lines = [json.dumps({key: value for key, value in e.items() if key != "ssim_as_published"}) for e in entries]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    run = read_run(str(folder))
    assert run.results[0].systems == ["model"]
    assert any("score it again to fill its column" in note for note in note_tables(PAPERS["afp"], [run]))


@pytest.mark.parametrize(
    ("config", "of"),
    [("train", "afp"), ("recipes/acp_train_2", "acp"), ("recipes/light_future_stage_2", "light_future"),
     ("recipes/morpheus", "morpheus"), ("recipes/one_step", None), ("recipes/first_stage_decoder", None)],
)  # fmt: skip
def test_each_recipe_is_taken_by_its_own_paper_alone(config, of, tmp_path):
    composed = dict(compose([CONFIGS / f"{config}.yaml"]))
    taken = []
    for name, paper in PAPERS.items():
        try:
            lay_out(paper, [Run(paper.recipes[0], tmp_path, config=composed)])
            taken.append(name)
        except ValueError as error:
            assert "was trained by another recipe" in str(error)
    assert taken == ([of] if of else [])
