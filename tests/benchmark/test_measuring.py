"""Laws of measuring: one clock whose turns alternate, rates of this machine, pairs by row, shares of medians."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from benchmark import measuring, preparation
from benchmark.__main__ import main
from benchmark.measuring import (
    count_flop,
    machine_facts,
    measure_rates,
    median_rate,
    median_seconds,
    peak_mib,
    seconds_of,
    time_in_turns,
)
from benchmark.preparation import BARE
from benchmark.report import Row, Table
from benchmark.workload import read_size, write_pairs
from formats.prepared_folder import read_manifest
from ldm.util import instantiate_from_config

CPU = torch.device("cpu")


@pytest.fixture
def ticks(monkeypatch):
    """A clock that shows the given times."""
    return lambda *times: monkeypatch.setattr(measuring, "timer", iter(times).__next__)


def test_what_is_within_the_spread_is_marked():
    clear, unclear = (Row("I1", "x", 1.0, peer=peer, spread=0.1, peer_spread=0.2) for peer in (3.0, 1.05))
    assert clear.is_clear and not unclear.is_clear
    assert clear.cells()["times that:"] == "0.3333" and unclear.cells()["times that:"] == "0.9524 (unclear)"


def test_a_page_has_a_table_a_section_without_empty_columns(tmp_path):
    """Rows stand in the order of their names, a new one in the place of an older; numbers to the right."""
    made = Table("T", {"command": "x", "threads": 1, "rate": 1.23456}, tmp_path / "t", "Said.", "")
    for row in (Row("b", "one", 9.0), Row("a", "two", None, note="absent"), Row("b", "one", 2.0, counted={"n": 1500})):
        made.add(row)
    made.add(Row("c", "three", 10.0, "samples/s", 2.0, "PIL", floor=5.0), "Other")
    rows = "| a | two | - | - | absent |\n| b | one | 2 s | 1,500 | - |"
    heads = "| row | what | value | n | note |\n|---|---|---:|---:|---|"
    other = "| c | three | 10 samples/s | PIL 2 | 5 | 2 |"
    assert made.text.startswith(f"# T\n\n`x`\n\nthreads 1; rate 1.235.\n\nSaid.\n\n{heads}\n{rows}\n\n## Other\n\n")
    assert other in made.text and (tmp_path / "t.md").read_text() == made.text
    kept = Table("T", made.facts, tmp_path / "t", same=("threads",)).rows
    assert [row.value for row in kept.values()] == [2.0, 10.0]  # what was not measured is tried again


def test_turns_alternate_and_show_what_is_measured_so_far():
    order = []
    seen = [
        [len(of) for of in seconds]
        for seconds in time_in_turns([lambda: order.append("a"), lambda: order.append("b")], 4, 2)
    ]
    assert "".join(order) == "aabb" + "bbaa" + "aabb" + "bbaa" and seen == [[1, 1], [2, 2], [3, 3], [4, 4]]


def test_medians_are_of_the_rounds_after_a_warm_up(ticks):
    ticks(0, 1, 1, 3, 3, 13)
    assert median_seconds(lambda: None, 3) == (2, 9)
    calls = []
    ticks(0.0, 2.0, 10.0, 14.0)
    assert median_rate(lambda: calls.append(1), 8, 2) == (3.0, 2.0) and len(calls) == 3
    ticks(0, 6)
    assert seconds_of(lambda: None, repeats=3) == 2


def test_rates_are_positive_operations_two_a_multiply_add_and_facts_name_the_machine(monkeypatch):
    monkeypatch.setitem(measuring.MATRIX_SIDE, "cpu", 64)
    product, copy = measure_rates(CPU, torch.float32)
    assert product > 1e6 and copy > 1e6 and peak_mib(lambda: None, CPU) is None
    facts = machine_facts(CPU)
    a = torch.randn(8, 8)
    assert count_flop(lambda: a @ a) == 2 * 8**3
    assert facts["torch"] == torch.__version__
    assert facts["commit"] and facts["command"].startswith("python -m benchmark")


def test_sizes_share_all_but_what_their_overlays_name():
    full, tiny, predicted = read_size("full"), read_size("tiny"), read_size("tiny", "prediction", "tiny_autoencoder")
    assert full["model"]["params"]["first_stage_config"]["params"]["ddconfig"]["resolution"] == 256
    assert tiny["model"]["params"]["unet_config"]["params"]["model_channels"] == 32
    params = predicted["model"]["params"]
    assert params["first_stage_config"]["params"] == {"scale_factor": 0.18215, "width": 16}
    assert params["cond_stage_config"]["params"] == {"width": 64}
    assert read_size("full", "tiny_autoencoder")["model"]["params"]["first_stage_config"]["params"]["width"] == 64


def test_pairs_are_jpeg_pictures_of_a_prepared_folder_and_are_written_once(tmp_path):
    folder = write_pairs(tmp_path / "pairs", 3, 32)
    pairs = read_manifest(folder, "train")
    assert len(pairs) == 3
    with Image.open(pairs[0].target_path(folder)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (32, 32))
    before = (folder / "index.jsonl").stat().st_mtime_ns
    assert write_pairs(folder, 5, 32) == folder and (folder / "index.jsonl").stat().st_mtime_ns == before


def test_a_batch_is_read_by_its_rows_and_only_half_precision_scales_its_loss(make_bench):
    bench = make_bench(num_pairs=2)
    batch = bench.read(instantiate_from_config(bench.node, "data"), [1, 0, 1])
    assert batch["seed"].tolist() == [1, 0, 1] and batch["source_frame"].shape == (3, 3, 16, 16)
    enabled = [make_bench(dtype).scaler().is_enabled() for dtype in (torch.bfloat16, torch.float16)]
    assert enabled == [False, True]


def test_both_rates_of_preparation_are_printed_in_one_run(episodes_folder, capsys, monkeypatch):
    monkeypatch.setattr(preparation, "make_pool", ThreadPoolExecutor)  # fresh processes import torch, for seconds
    assert main(["preparation", "--episodes", str(episodes_folder(count=1)), "--workers", "1", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert BARE in printed and "frames/s" in printed and "times that" in printed
