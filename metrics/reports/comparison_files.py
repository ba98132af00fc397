"""Writes a comparison: table in three formats, scores pair by pair, grid of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from formats.atomic import write_jsonl, write_text
from formats.prepared_folder import FramePair
from metrics.comparison.compare import Comparison
from metrics.comparison.rows import MODEL, TRUTH, UPPER_BOUND
from metrics.comparison.scoring import Candidate, PairScore
from metrics.comparison.table_formats import to_csv, to_json, to_markdown
from metrics.reports.figures import GridColumn, make_grid, save_figure


def write_comparison(comparison: Comparison, output: Path) -> list[Path]:
    """Write table.csv, .json, .md, pairs.jsonl and grid.png, .pdf; returns the files."""
    by_id = {pair.pair_id: pair for pair in comparison.pairs}
    texts = {"csv": to_csv(comparison.table), "json": to_json(comparison.table), "md": to_markdown(comparison.table)}
    files = [output / f"table.{suffix}" for suffix in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_text(file, text)
    files.append(output / "pairs.jsonl")
    write_jsonl(files[-1], (pair_line(score, by_id[score.pair_id]) for score in comparison.scores))
    row_names, columns = make_comparison_grid(comparison)
    return files + (save_figure(make_grid(row_names, columns), output / "grid") if columns else [])


def pair_line(score: PairScore, pair: FramePair) -> dict:
    """One line of pairs.jsonl; infinite and unknown values as text."""
    return {
        "row": score.row,
        "pair_id": score.pair_id,
        "group": score.group,
        "episode": pair.episode,
        "source_index": pair.source_index,
        "target_index": pair.target_index,
        "instruction": pair.instruction,
        "remarks": list(score.remarks),
        **{key: value if np.isfinite(value) else str(value) for key, value in score.values.items()},
    }


def make_comparison_grid(comparison: Comparison) -> tuple[list[str], list[GridColumn]]:
    """Row names and a column per group: the pair of median PSNR of the table's last row, not a picked one."""
    last = comparison.scorer.candidates[-1]
    models, bounds = (
        [candidate for candidate in comparison.scorer.candidates if candidate.kind == kind and candidate.name != TRUTH]
        for kind in (MODEL, UPPER_BOUND)
    )
    systems = [*models, *bounds] or [last]  # reconstructions stand next to the truth
    by_id = {pair.pair_id: pair for pair in comparison.pairs}
    columns = []
    for group in sorted({score.group for score in comparison.scores}):
        scores = [score for score in comparison.scores if score.group == group and score.row == last.name]
        if scores:
            ordered = sorted(scores, key=lambda score: (score.values.get("psnr", 0.0), score.pair_id))
            columns.append(_make_column(comparison, systems, group, by_id[ordered[len(ordered) // 2].pair_id]))
    return ["input", *(system.name for system in systems), "truth"], columns


def _make_column(comparison: Comparison, systems: Sequence[Candidate], group: str, pair: FramePair) -> GridColumn:
    source, truth = comparison.scorer.read_frames(pair)
    frames = [comparison.scorer.predict_frame(system, pair, source) for system in systems]
    psnr = {s.row: s.values["psnr"] for s in comparison.scores if s.pair_id == pair.pair_id and "psnr" in s.values}
    captions = [f"{psnr[system.name]:.1f} dB" if system.name in psnr else "" for system in systems]
    episode = "" if pair.episode is None else f"episode {pair.episode}"
    return GridColumn(group.replace("_", " "), (source, *frames, truth), (episode, *captions, ""))
