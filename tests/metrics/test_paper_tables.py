import csv
import io

import pytest

from metrics.measures.psnr import AS_PUBLISHED_GAIN
from metrics.paper_tables import find_fact, lay_out, main, to_csv, to_markdown
from metrics.reports.paper_numbers import PAPERS
from metrics.reports.runs import Run, read_run


def test_a_cell_has_printed_as_published_and_proper(run_folder):
    table = lay_out(PAPERS["afp"], [read_run(str(run_folder))])[0]
    hammer, _, stack, mean, *copied = table.rows
    assert hammer[:2] == ("block_hammer_beat", "0.97") and hammer[4] == "38.5"
    published, proper = float(hammer[5]), float(hammer[6].split()[0])
    assert published - proper == pytest.approx(AS_PUBLISHED_GAIN, abs=0.02)
    assert stack[1:] == ("0.95", "-", "-", "37.8", "-", "-", "-")  # the run has no such task
    assert mean[-1] == "6"
    assert copied[0][0] == "copy the input, block_hammer_beat" and copied[0][1] == "-"


def test_a_run_takes_the_rows_of_its_recipe_only(run_folder):
    table = lay_out(PAPERS["acp"], [read_run(f"Training 2={run_folder}")])[0]
    filled = [row[0] for row in table.rows if row[6] != "-"]
    assert filled[:2] == ["Training_2_block_hammer_beat", "Training_2_handover_blocks"]
    with pytest.raises(ValueError, match="the run 'x' is no recipe of acp; give --runs \"Original FT=<folder>\""):
        lay_out(PAPERS["acp"], [read_run(f"x={run_folder}")])


@pytest.mark.parametrize("paper", PAPERS)
def test_without_runs_the_printed_numbers_stand_alone(paper):
    tables = lay_out(PAPERS[paper], [])
    assert all(len(row) == len(table.headings) for table in tables for row in table.rows)
    assert PAPERS[paper].title in to_markdown(PAPERS[paper], tables)
    assert len(list(csv.reader(io.StringIO(to_csv(tables))))) == sum(1 + len(table.rows) for table in tables)


def test_facts_come_from_config_run_benchmark_and_curves(run_folder):
    run = read_run(str(run_folder))
    sources = {
        "config:resolution": "16",
        "config:model.params.learning_rate": "0.0001",
        "config:model.absent.x": "-",
        "run:steps": "190",
        "part:device": "CPU",
        "benchmark:parameters": "1.2M",
        "curve:gpu_memory_gib": "3.5",
        "last:train/loss_simple": "0.005236",
        "data": "data",
    }
    assert {source: find_fact(run, source) for source in sources} == sources
    assert float(find_fact(run, "score:psnr")) > 10
    assert find_fact(Run("empty", run_folder), "score:psnr") == "-"


def test_command_prints_and_writes(run_folder, tmp_path, capsys):
    run = run_folder / "metrics" / "epoch=10"
    assert main(["morpheus", "--runs", f"ours={run}", "--output", str(tmp_path / "o")]) == 0
    assert "as published (60 to 62 dB are not possible" in " ".join(capsys.readouterr().out.split())
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"tables.md", "tables.csv", "ours_histogram_psnr.png", "ours_grid.pdf"} <= names
    assert main(["afp", "--runs", str(tmp_path / "absent")]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_a_resumed_run_took_the_seconds_of_all_its_parts(tmp_path):
    parts = [{"device": "A", "seconds": 2.5}, {"device": "A"}, {"device": "B", "seconds": 1.0}]
    run = Run("resumed", tmp_path, facts={"parts": parts})
    assert (find_fact(run, "part:seconds"), find_fact(run, "part:device")) == ("3.5", "B")
    assert find_fact(Run("unknown", tmp_path), "part:seconds") == "-"
