"""A request => a prepared folder: plan, convert in one process or several, finish, and report the counts."""

import logging
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.processes import run_jobs
from commands.run import show_progress
from dataset_tools.preparing.convert import convert_part, finish_folder, open_folder, pending_parts
from dataset_tools.preparing.plan import Plan, plan_folder
from dataset_tools.preparing.request import JSONL, PrepareRequest
from dataset_tools.readers.detect import read_episodes
from formats.atomic import write_jsonl
from formats.prepared_folder import SPLITS, read_manifest

log = logging.getLogger(__name__)


def prepare(request: PrepareRequest) -> None:
    """Write the folder, or this shard of it, or go on where an earlier call stopped.

    Raises:
        UserError: if the episodes, the options or the folder do not allow it.
    """
    options, output = request.options, request.output
    plan = plan_folder(read_episodes(request.reading), options, request.reading.folders)
    if open_folder(plan, output):
        log.info("%s is whole already: the same episodes, the same options.", output)
        if request.jsonl:
            write_index(output)
        return
    index, count = request.shard
    if not request.merge:
        share = [part for part in pending_parts(plan, output) if part.position % count == index]
        jobs = [(part, output, options) for part in share]
        for _ in show_progress(run_jobs(convert_part, jobs, min(request.workers, len(jobs))), "episodes", len(jobs)):
            pass
        if count > 1:
            log.info("shard %d/%d is done; when all are, run the same command with --merge.", index, count)
            return
    whole = finish_folder(plan, output, options)
    if request.jsonl:
        write_index(output)
    Console(stderr=True).print(_report(whole, plan))
    log.info(
        "no target frame: %d skipped; static: %d dropped; split by %s.",
        whole["skipped_without_target"],
        whole["dropped_static"],
        "episode" if options.split.kind == "episode" else "pair (leaky)",
    )


def write_index(folder: Path) -> None:
    """One line per pair: both pictures and the sentence."""
    lines = []
    for pair in read_manifest(folder):
        source, target = (path.relative_to(folder).as_posix() for path in pair.paths(folder))
        lines.append({"input_image": source, "edited_image": target, "edit": pair.instruction})
    write_jsonl(folder / JSONL, lines)


def _report(whole: dict, plan: Plan) -> Table:
    table = Table("task", *SPLITS, title=f"{whole['pairs']} pairs of {len(plan.parts)} episodes", title_justify="left")
    for task, row in whole["counts"].items():
        table.add_row(escape(task), *(str(row.get(split, 0)) for split in SPLITS))
    return table
