"""Prepared folder => Hugging Face data set, local or pushed.

Written as `datasets` itself writes: parquet with the pictures inside, one set of files a split, and a card; so
`load_dataset("data/hub")` works, and so do diffusers' train_instruct_pix2pix scripts, whose column names
(original_image, edit_prompt, edited_image) are used. Neither needs the `datasets` package here.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from commands.errors import UserError
from dataset_tools.writers.rolling_files import PICTURE
from formats.atomic import atomic_path, check_regular, draft_folder, read_file, write_text
from formats.prepared_folder import SPLITS, FramePair, read_manifest

SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}  # as Hugging Face calls them
FILE_BYTES = 400 * 1024**2  # a parquet file's size; the Hub advises below 500 MB
ROWS_AT_ONCE = 256
SCHEMA = pa.schema(
    [
        ("original_image", PICTURE),
        ("edit_prompt", pa.string()),
        ("edited_image", PICTURE),
        ("task", pa.string()),
        ("episode", pa.int64()),
        ("source_frame", pa.int64()),
        ("target_frame", pa.int64()),
        ("frames_per_second", pa.float64()),
        ("pair_id", pa.string()),
    ]
)


def export_folder(folder: Path, output: Path) -> dict[str, int]:
    """Write data/<split>-*.parquet and README.md; returns the number of pairs of each split.

    Raises:
        UserError: if the output is not empty or a picture is missing.
    """
    pairs = read_manifest(folder)
    counts = {}
    with draft_folder(output) as draft:
        for split in SPLITS:
            chosen = [pair for pair in pairs if (pair.split or "train") == split]
            if chosen:
                counts[SPLIT_NAMES[split]] = len(chosen)
                _write_split(folder, chosen, draft / "data", SPLIT_NAMES[split])
        rules = sorted({pair.split_rule or "unknown" for pair in pairs})
        write_text(draft / "README.md", make_card(pairs, counts, ", ".join(rules)))
    return counts


def make_card(pairs: Sequence[FramePair], counts: dict[str, int], split_kind: str) -> str:
    """The data set's card; its head tells the Hub which files are which split."""
    files = "".join(f"      - split: {split}\n        path: data/{split}-*.parquet\n" for split in counts)
    tasks = sorted({pair.task or "unknown" for pair in pairs})
    horizons = sorted({pair.horizon for pair in pairs if pair.horizon is not None})
    sizes = "\n".join(f"- {split}: {count} pairs" for split, count in counts.items())
    warning = (
        "\n**Split by pair, not by episode: test frames resemble training frames.**\n" if split_kind == "leaky" else ""
    )
    return (
        "---\ntask_categories:\n  - image-to-image\ntags:\n  - robotics\n"
        f"configs:\n  - config_name: default\n    data_files:\n{files}---\n\n"
        "# Current and future frames of robot episodes\n\n"
        "`original_image` is the current frame, `edited_image` the frame `target_frame - source_frame` frames later, "
        "`edit_prompt` what the robot is told to do.\n\n"
        f"{sizes}\n- tasks: {', '.join(tasks)}\n- horizons in frames: {', '.join(map(str, horizons)) or 'unknown'}\n"
        f"- split: {split_kind}\n{warning}"
    )


def push_folder(folder: Path, repo: str, *, private: bool) -> str:
    """Upload an exported folder to the Hub; returns its address.

    Raises:
        UserError: if there is no token, no permission or no network.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 (a second to import, and only pushing needs it)

    try:
        api = HfApi()
        address = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset")
    except Exception as error:  # of the client: what it raises without a network changes with its release
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{repo} was not pushed ({reason}); log in with `hf auth login`, check the name, and "
            f"push {folder}, which is whole, alone: {_push_command(folder, repo, private=private)}"
        ) from error
    return str(address)


def _push_command(folder: Path, repo: str, *, private: bool) -> str:
    words = ["hf", "upload", repo, str(folder), ".", "--repo-type", "dataset", *(["--private"] if private else [])]
    return shlex.join(words)


def _write_split(folder: Path, pairs: Sequence[FramePair], output: Path, split: str) -> None:
    shares = list(_shares(folder, pairs))
    for number, share in enumerate(shares):
        with atomic_path(output / f"{split}-{number:05d}-of-{len(shares):05d}.parquet") as draft:
            schema = SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": _features()}})})
            with pq.ParquetWriter(draft, schema) as writer:
                for start in range(0, len(share), ROWS_AT_ONCE):
                    rows = [_row(folder, pair) for pair in share[start : start + ROWS_AT_ONCE]]
                    writer.write_table(pa.Table.from_pylist(rows, schema))


def _shares(folder: Path, pairs: Sequence[FramePair]) -> Iterator[list[FramePair]]:
    """Pairs cut into runs whose pictures fill a file."""
    share: list[FramePair] = []
    size = 0
    for pair in pairs:
        grown = sum(check_regular(path).st_size for path in pair.paths(folder))
        if share and size + grown > FILE_BYTES:
            yield share
            share, size = [], 0
        share.append(pair)
        size += grown
    if share:
        yield share


def _row(folder: Path, pair: FramePair) -> dict:
    source, target = pair.paths(folder)
    return {
        "original_image": {"bytes": read_file(source), "path": source.name},
        "edit_prompt": pair.instruction,
        "edited_image": {"bytes": read_file(target), "path": target.name},
        "task": pair.task,
        "episode": pair.episode,
        "source_frame": pair.source_index,
        "target_frame": pair.target_index,
        "frames_per_second": pair.frames_per_second,
        "pair_id": pair.pair_id,
    }


def _features() -> dict[str, dict]:
    """The columns in the words of the `datasets` package."""
    values = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64"}
    return {
        column.name: {"_type": "Image"} if column.type == PICTURE else {"dtype": values[column.type], "_type": "Value"}
        for column in SCHEMA
    }
