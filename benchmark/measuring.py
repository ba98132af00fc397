"""What a benchmark says: the machine's own rates, its facts, and the table as markdown and json."""

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from formats.atomic import write_json, write_text
from formats.provenance import read_commit

MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
COPY_BYTES = {"cuda": 8 * 10**9, "cpu": 2 * 10**8}
REPEATS = 5


@dataclass(frozen=True)
class Result:
    """One measured row; seconds unless said otherwise."""

    row: str
    what: str
    peer: str
    ours: float
    ours_spread: float
    theirs: float
    theirs_spread: float
    floor: float  # 0 where nothing says what the least is
    flop: float
    memory_mib: float | None
    network_calls: int | None  # None where they were not counted
    encoder_calls: int | None
    decoder_calls: int | None
    text_calls: int | None

    @property
    def ratio(self) -> float:
        """How many times faster than the peer."""
        return self.theirs / self.ours

    @property
    def is_clear(self) -> bool:
        """Whether the difference exceeds the spread of running the same side again."""
        return abs(self.theirs - self.ours) > max(self.ours_spread, self.theirs_spread)


def measure_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Best matrix-product rate (FLOP/s) on random data and copy rate (bytes/s, read and written) of this machine."""
    side = MATRIX_SIDE.get(device.type, 1024)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.empty(COPY_BYTES.get(device.type, 10**8), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: a @ b, device) for _ in range(REPEATS))
    copy = min(_seconds(lambda: target.copy_(source), device) for _ in range(REPEATS))
    return 2 * side**3 / product, 2 * source.numel() / copy


def _seconds(act: Any, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Device, versions, threads, load, commit and command of this run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "commit": read_commit(),
        "command": "python -m benchmark " + " ".join(sys.argv[1:]),
    }


def to_markdown(results: Sequence[Result], facts: dict[str, Any]) -> str:
    """Table with its facts; a ratio within the spread is marked."""
    parities = [value for name, value in facts.items() if name.startswith("parity")]
    agree = f"final latents agree to {max(parities):.1e} of their size. " if parities else ""
    lines = [
        "# Prediction speed against diffusers",
        "",
        "Same weights (seeded noise), noise, scheduler, steps, guidance and output on both sides; "
        f"{agree}Rows with few steps are speed only.",
        "",
        "| row | what | ours, s | diffusers, s | times faster | floor, s | x floor | calls of network, coders, text |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in results:
        mark = "" if r.is_clear else " (within the spread)"
        ours, theirs = f"{r.ours:.4f} ± {r.ours_spread / 2:.4f}", f"{r.theirs:.4f} ± {r.theirs_spread / 2:.4f}"
        cells = [
            r.row,
            r.what,
            ours,
            theirs,
            f"{r.ratio:.2f}{mark}",
            f"{r.floor:.5f}" if r.floor else "-",
            f"{r.ours / r.floor:.1f}" if r.floor else "-",
            _say_calls(r),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    memory = [f"{r.row} {r.memory_mib:.0f} MiB" for r in results if r.memory_mib is not None]
    said = [f"{name} {value}" for name, value in facts.items() if not name.startswith(("parity", "command"))]
    lines += ["", f"Peer: diffusers {_say_peers(results)}. " + "; ".join(said) + ".", "", f"`{facts['command']}`"]
    lines += [f"Peak memory: {', '.join(memory)}."] if memory else []
    return "\n".join(lines) + "\n"


def _say_calls(result: Result) -> str:
    if result.network_calls is None:
        return "-"
    return f"{result.network_calls}, {result.encoder_calls} + {result.decoder_calls}, {result.text_calls}"


def _say_peers(results: Sequence[Result]) -> str:
    """How the peer was set up, with the rows where it was not the same in all."""
    rows: dict[str, list[str]] = {}
    for result in results:
        rows.setdefault(result.peer, []).append(result.row)
    if len(rows) == 1:
        return results[0].peer
    return ", ".join(f"{peer} ({' '.join(dict.fromkeys(names))})" for peer, names in rows.items())


def write_report(path: Path, results: Sequence[Result], facts: dict[str, Any]) -> str:
    """Write <path>.md and <path>.json; the markdown."""
    text = to_markdown(results, facts)
    write_text(path.with_suffix(".md"), text)
    write_json(
        path.with_suffix(".json"), json.loads(json.dumps({"facts": facts, "rows": [asdict(r) for r in results]}))
    )
    return text
