"""Laws of the report: rates are of this machine, unclear ratios are said to be so."""

import torch

from benchmark import measuring
from benchmark.measuring import Result, machine_facts, measure_rates, to_markdown


def make_result(**changes):
    values = {"row": "I1", "what": "1 frame", "peer": "as documented", "floor": 0.1, "flop": 1e9, "memory_mib": None}
    values |= {"ours": 1.0, "ours_spread": 0.1, "theirs": 3.0, "theirs_spread": 0.2}
    values |= {"network_calls": 100, "encoder_calls": 1, "decoder_calls": 1, "text_calls": 0}
    return Result(**values | changes)


def test_a_ratio_within_the_spread_is_marked():
    clear, unclear = make_result(), make_result(theirs=1.05)
    assert clear.ratio == 3.0 and clear.is_clear and not unclear.is_clear
    text = to_markdown([clear, unclear], {"parity": 1e-6, "device": "x", "command": "python -m x"})
    lines = [line for line in text.splitlines() if line.startswith("| I1")]
    assert "within the spread" not in lines[0] and "within the spread" in lines[1]
    assert "| 10.0 |" in lines[0], "times floor"


def test_memory_is_said_where_it_was_measured():
    assert "Peak memory: I1 512 MiB" in to_markdown(
        [make_result(memory_mib=512.0)], {"parity": 0.0, "command": "python -m x"}
    )
    assert "Peak memory" not in to_markdown([make_result()], {"parity": 0.0, "command": "python -m x"})


def test_rates_are_positive_and_facts_name_the_machine(monkeypatch):
    monkeypatch.setitem(measuring.MATRIX_SIDE, "cpu", 64)
    product, copy = measure_rates(torch.device("cpu"), torch.float32)
    assert product > 1e6 and copy > 1e6
    facts = machine_facts(torch.device("cpu"))
    assert facts["torch"] == torch.__version__
    assert facts["commit"] and facts["command"].startswith("python -m benchmark")


def test_each_peer_is_said_and_calls_that_nobody_counted_are_not():
    counts = dict.fromkeys(("network_calls", "encoder_calls", "decoder_calls", "text_calls"))
    cold = make_result(row="I9", **counts)
    text = to_markdown([make_result(peer="tuned"), make_result(row="I2", peer="tuned"), cold], {"command": "x"})
    assert "Peer: diffusers tuned (I1 I2), as documented (I9)." in text
    assert next(line for line in text.splitlines() if line.startswith("| I9")).endswith("| - |")
    assert "Peer: diffusers as documented." in to_markdown([cold], {"command": "x"})
