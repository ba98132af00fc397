"""Cached latents: pairs that were encoded once and train without encoders. Made by main.py --cache-latents <folder>.

    <cache>/source.npy         (k N, C, h, w) posterior mode of the source frame, not scaled
    <cache>/target_mean.npy    (k N, C, h, w) and
    <cache>/target_std.npy     (k N, C, h, w) posterior of the target frame, so that it is drawn anew at each visit
    <cache>/*_frame.npy        (k N, 3, S, S) uint8 pixels, only where an image loss needs them
    <cache>/text.npy           (n, L, D) one row a distinct sentence, row 0 the empty one; absent where the text trains
    <cache>/pairs.jsonl        a line a pair and variant: pair_id, instruction, text row, seconds ahead where known
    <cache>/cache.json         hash of the encoders' weights, preprocessing, counts; written last: then it is whole

With N pairs and k augmented variants. At 256 px and half precision 24,576 bytes a pair and variant.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from commands.errors import MissingFileError, UserError
from formats.atomic import atomic_path, read_json, read_jsonl, write_json, write_text
from ldm.data.batch import CachedBatch
from ldm.data.frame_pairs import FramePairDataset, collate
from ldm.data.pixels import to_signed, to_uint8
from ldm.data.stream import sample_seed

log = logging.getLogger(__name__)

ARRAYS = ("source", "target_mean", "target_std")
FRAMES = ("source_frame", "target_frame")
HOW_TO_MAKE = "Make it with: python main.py --base <the same configs> --cache-latents"
HOW_TO_REPLACE = f"Delete that folder. {HOW_TO_MAKE}"
GPU_SHARE = 0.1  # of a GPU's free memory that a cache may take; training wants the rest


def describe_preprocessing(data: FramePairDataset, augmentation_config: Mapping | None, variants: int) -> dict:
    """What decides the pixels that are encoded; part of the key of a cache."""
    folder = data.folder
    listing = "\n".join(f"{p.pair_id}\t{p.instruction}" for p in data.pairs)
    return {
        "folder": str(folder),
        "pairs": hashlib.sha256(listing.encode()).hexdigest(),
        "pictures": _hash_sizes([path for p in data.pairs for path in (p.source_path(folder), p.target_path(folder))]),
        "resolution": data.resolution,
        "augmentation": dict(augmentation_config) if augmentation_config else None,
        "variants": variants,
    }


def _hash_sizes(paths: Sequence[Path]) -> str:
    """Hash of the sizes of files: pictures prepared again from other frames differ in some; copies do not."""
    sizes = (path.stat().st_size if path.is_file() else -1 for path in paths)
    return hashlib.sha256(",".join(map(str, sizes)).encode()).hexdigest()


@torch.no_grad()
def build_cache(
    model: nn.Module,
    data: FramePairDataset,
    node: Mapping,
    folder: Path,
    variants: int = 1,
    *,
    dtype: str = "float16",
    batch_size: int = 32,
    keep_frames: bool | None = None,
    num_workers: int = 0,
) -> None:
    """Encode all pairs of a training set; each variant of a pair is augmented by a seed of its own.

    Args:
        model: has `first_stage_model`, `cond_stage_model`, `cond_stage_trainable`, `encode_instruction`, `device`.
        data: the training pairs.
        node: the params that the data set was built from, for its augmentation.
        folder: the cache to write.
        variants: of each pair.
        dtype: of the latents: float16 or float32.
        batch_size: frames encoded together.
        keep_frames: also keep the pixels, for losses on the decoded prediction; None: where the model has such a loss.
        num_workers: processes that read pictures while the encoder works; 0 reads in between.
    """
    _check_variants(variants, data)
    preprocessing = describe_preprocessing(data, node.get("augmentation_config"), variants)
    key = {"weights": model.hash_encoders(), "preprocessing": preprocessing, "dtype": dtype}
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("cache.json", *(f"{array}.npy" for array in (*ARRAYS, *FRAMES, "text"))):
        (folder / name).unlink(missing_ok=True)
    kept = FRAMES if (model.frame_loss is not None if keep_frames is None else keep_frames) else ()
    keys = [(i, sample_seed(0, v * len(data) + i)) for v in range(variants) for i in range(len(data))]
    rows: dict[str, int] = {"": 0}
    lines = []
    arrays: dict[str, np.memmap] = {}
    starts = range(0, len(keys), batch_size)
    batches = [keys[start : start + batch_size] for start in starts]
    loader = DataLoader(data, batch_sampler=batches, collate_fn=collate, num_workers=num_workers)
    for start, batch in zip(starts, loader, strict=True):
        for name, values in (_encode(model, batch, dtype) | {n: to_uint8(batch[n]).numpy() for n in kept}).items():
            if name not in arrays:
                arrays[name] = _allocate(folder / f"{name}.npy", values.dtype, (len(keys), *values.shape[1:]))
            arrays[name][start : start + len(values)] = values
        timed = [{"seconds": second} for second in batch["seconds"].tolist()] if "seconds" in batch else repeat({})
        for pair_id, instruction, time in zip(batch["pair_id"], batch["instruction"], timed, strict=False):
            row = rows.setdefault(instruction, len(rows))
            lines.append(json.dumps({"pair_id": pair_id, "instruction": instruction, "text": row} | time) + "\n")
    for array in arrays.values():
        array.flush()
    if not model.cond_stage_trainable:
        embedded = torch.cat([model.encode_instruction([sentence]) for sentence in rows])
        with atomic_path(folder / "text.npy") as draft:
            np.save(draft, embedded.to(getattr(torch, dtype)).cpu().numpy())
    write_text(folder / "pairs.jsonl", "".join(lines))
    write_json(folder / "cache.json", key | {"pairs": len(data), "variants": variants, "sentences": len(rows)})
    log.info("cached %d pairs x %d variants, %d sentences in %s", len(data), variants, len(rows), folder)


def _check_variants(variants: int, data: FramePairDataset) -> None:
    if variants < 1:
        raise UserError(f"{variants} variants of each pair are no cache; wanted at least 1 (--cache-variants).")
    if variants > 1 and data.augmentation is None:
        raise UserError(f"{variants} variants of a data set without augmentation are all the same; cache 1.")


def _encode(model: nn.Module, batch: Mapping, dtype: str) -> dict[str, np.ndarray]:
    """Latents of a batch, both frames in one call of the encoder."""
    frames = torch.cat([batch["source_frame"], batch["target_frame"]]).to(model.device)
    posterior = model.first_stage_model.encode(frames)
    (source, mean), (_, std) = posterior.mean.chunk(2), posterior.std.chunk(2)
    latents = {"source": source, "target_mean": mean, "target_std": std}
    return {name: latent.to(getattr(torch, dtype)).cpu().numpy() for name, latent in latents.items()}


def _allocate(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A new array on disk whose room is taken now: a full disk met while writing to a memory map kills the process.

    Raises:
        UserError: if the disk has no room for it.
    """
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if not hasattr(os, "posix_fallocate"):
        return array
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink()
        raise UserError(
            f"the cache of latents takes {array.nbytes / 1e9:.2f} GB for {path.name} alone, which {path.parent} cannot "
            f"hold ({error.strerror}); give --cache-latents a folder on a larger disk, or fewer --cache-variants."
        ) from error
    return array


class CachedPairDataset(Dataset):
    """Pairs of a cache, memory-mapped, or wholly on the GPU.

    Args:
        folder: the cache.
        on_gpu: keep everything on this process's GPU where it fits, from the first batch on; else it is memory-mapped.
    """

    def __init__(self, folder: str | Path, *, on_gpu: bool = False) -> None:
        self.folder = Path(folder)
        if not is_whole_cache(self.folder):
            raise MissingFileError(
                f"no whole cache of latents in {folder}: cache.json is missing.\n{HOW_TO_MAKE} {folder}"
            )
        self.key = read_json(self.folder / "cache.json")
        self.entries = read_jsonl(self.folder / "pairs.jsonl")
        self.rows = torch.tensor([entry["text"] for entry in self.entries])
        there = [name for name in ("text", *FRAMES) if (self.folder / f"{name}.npy").is_file()]
        self.arrays = {name: self._open(name) for name in (*ARRAYS, *there)}
        self.on_gpu = on_gpu  # then the loader takes no workers: a GPU's memory is its process's own
        self.device: torch.device | None = None
        self._placed = not on_gpu

    def _open(self, name: str) -> Tensor:
        """An array of the cache; copy-on-write, so that torch does not complain of read-only memory."""
        return torch.from_numpy(np.load(self.folder / f"{name}.npy", mmap_mode="c"))

    def _place(self) -> None:
        """Move the arrays to this process's GPU, which is known once training runs, if they fit into their share."""
        self._placed = True
        size = sum(array.nbytes for array in self.arrays.values())
        self.device = gpu_with_room(size)
        if self.device is not None:
            self.arrays = {name: array.to(self.device) for name, array in self.arrays.items()}

    def __len__(self) -> int:
        """Pairs, each once: a visit takes one of its variants by the sample's seed."""
        return int(self.key["pairs"])

    @property
    def pair_ids(self) -> list[str]:
        """Names of the pairs in order, each once."""
        return [entry["pair_id"] for entry in self.entries[: len(self)]]

    def __getitem__(self, key: int | tuple[int, ...]) -> CachedBatch:
        """A batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int | tuple[int, ...]]) -> CachedBatch:
        """The batch of (index, seed) keys, gathered at once."""
        if not self._placed:
            self._place()
        pairs = [key if isinstance(key, tuple) else (key, key) for key in keys]
        places = [index + (seed // 7) % self.key["variants"] * len(self) for index, seed, *_ in pairs]
        at = torch.tensor(places, device=self.device)
        batch: CachedBatch = {
            "source_latent": self.arrays["source"][at],
            "target_mean": self.arrays["target_mean"][at],
            "target_std": self.arrays["target_std"][at],
            "instruction": [self.entries[place]["instruction"] for place in places],
            "pair_id": [self.entries[place]["pair_id"] for place in places],
            "seed": torch.tensor([seed for _, seed, *_ in pairs], dtype=torch.int64),
        }
        if "seconds" in self.entries[0]:
            batch["seconds"] = torch.tensor([self.entries[place]["seconds"] for place in places])
        batch |= {name: to_signed(self.arrays[name][at]) for name in FRAMES if name in self.arrays}
        if "text" in self.arrays:
            batch["text"] = self.arrays["text"][self.rows[places].to(at.device)]
            batch["null_text"] = self.arrays["text"][:1]
        return batch

    def check_weights(self, weights_hash: str) -> None:
        """Refuse a cache that other encoders made.

        Raises:
            UserError: if the hash differs.
        """
        if self.key["weights"] != weights_hash:
            raise UserError(
                f"the cache {self.folder} was made with other encoder weights ({self.key['weights'][:12]}) than this "
                f"model's ({weights_hash[:12]}).\n{HOW_TO_REPLACE} {self.folder}"
            )

    def check_preprocessing(self, preprocessing: dict) -> None:
        """Refuse a cache of other pairs, resolution or augmentation.

        Raises:
            UserError: names what differs.
        """
        made = self.key["preprocessing"]
        differing = [name for name, value in preprocessing.items() if made.get(name) != value]
        if differing:
            name = differing[0]
            raise UserError(
                f"the cache {self.folder} is stale: {name} was {made.get(name)} and is {preprocessing[name]}.\n"
                f"{HOW_TO_REPLACE} {self.folder}"
            )

    def check_frames(self) -> None:
        """Refuse a cache without pixels, for a model that wants them.

        Raises:
            UserError: if there are none.
        """
        if not all(name in self.arrays for name in FRAMES):
            raise UserError(
                f"the cache {self.folder} was made without frames, and frame_loss_config compares frames.\n"
                f"{HOW_TO_REPLACE} {self.folder}"
            )


def gpu_with_room(size: int) -> torch.device | None:
    """This process's GPU if so many bytes are a small share of its free memory."""
    if torch.cuda.is_available() and size < torch.cuda.mem_get_info()[0] * GPU_SHARE:
        return torch.device("cuda", torch.cuda.current_device())
    log.info("%.1f GB of cached latents stay on disk: they want a GPU with ten times as much free.", size / 1e9)
    return None


def is_whole_cache(folder: str | Path) -> bool:
    """Whether a cache is there and was written to its end."""
    return (Path(folder) / "cache.json").is_file()


def cache_or_check(
    model: nn.Module, data: FramePairDataset, node: Mapping, folder: Path, variants: int = 1, **options: int | str
) -> dict:
    """Build a cache where there is none, check one that is there, and return the node of the data set that reads it.

    Raises:
        UserError: if the cache is stale, or the data come with neighbours, which change at every visit.
    """
    if node.get("neighbours_config"):
        raise UserError("--cache-latents keeps no neighbours (neighbours_config of the data); leave the flag out.")
    if is_whole_cache(folder):
        cached = CachedPairDataset(folder)
        cached.check_weights(model.hash_encoders())
        cached.check_preprocessing(describe_preprocessing(data, node.get("augmentation_config"), variants))
        if model.frame_loss is not None:
            cached.check_frames()
    else:
        build_cache(model, data, node, folder, variants=variants, **options)
    params = {"folder": str(folder)} | ({"on_gpu": True} if model.device.type == "cuda" else {})
    return {"target": f"{__name__}.CachedPairDataset", "params": params}
