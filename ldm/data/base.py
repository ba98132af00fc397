"""DataModuleFromConfig: data sets named in a YAML, as Lightning loaders."""

import os
from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset

from commands.errors import UserError
from commands.processes import leave_signals_to_parent
from ldm.data.frame_pairs import collate
from ldm.data.stream import StreamSampler, TrainingStream, check_schedule
from ldm.util import instantiate_from_config

MAX_WORKERS = 8  # a guess that suits one GPU; the config overrides it


class DataModuleFromConfig(pl.LightningDataModule):
    """Loaders for training, validation and test.

    Args:
        batch_size: samples per device and micro-batch.
        train, validation, test: nodes of data sets, each optional.
        num_workers: loader processes per device; None takes all cores but one, at most 8.
        seed: decides order and chance of the training stream.
        resolutions: [first optimiser step, resolution] pairs for training pairs, rising: progressive resolution.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int,
        train: Mapping | None = None,
        validation: Mapping | None = None,
        test: Mapping | None = None,
        num_workers: int | None = None,
        resolutions: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.params.batch_size: {batch_size}; wanted at least 1.")
        self.batch_size = batch_size
        self.seed = seed
        self.resolutions = check_schedule(resolutions)
        self.configs = {"train": train, "validation": validation, "test": test}
        self.num_workers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if num_workers is None else num_workers
        self.datasets: dict[str, Dataset] = {}
        self._stream: TrainingStream | None = None
        self._resumed: dict | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the manifests, once."""
        for name, config in self.configs.items():
            if config is not None and name not in self.datasets:
                self.datasets[name] = instantiate_from_config(config, f"data.params.{name}")

    def train_dataloader(self) -> TrainingStream:
        """The resumable training stream of this process."""
        rank = self.trainer.global_rank if self.trainer else 0
        world_size = self.trainer.world_size if self.trainer else 1
        dataset = self.datasets["train"]
        micro_batches = self.trainer.accumulate_grad_batches if self.trainer else 1
        resolutions = [(step * micro_batches, side) for step, side in self.resolutions]
        order = dataset.make_order(self.seed) if hasattr(dataset, "make_order") else None
        sampler = StreamSampler(len(dataset), self.batch_size, self.seed, rank, world_size, resolutions, order)
        self._stream = TrainingStream(dataset, sampler, **self._loader_options(dataset))
        if self._resumed is not None:
            self._stream.load_state_dict(self._resumed)
        return self._stream

    def state_dict(self) -> dict:
        """Position in the training stream, for the checkpoint."""
        return self._stream.state_dict() if self._stream else {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Remember the position for the stream that is built next."""
        self._resumed = state_dict or None

    def val_dataloader(self) -> DataLoader | list:
        """Validation pairs in order."""
        return self._in_order("validation")

    def test_dataloader(self) -> DataLoader | list:
        """Test pairs in order."""
        return self._in_order("test")

    def _in_order(self, name: str) -> DataLoader | list:
        if name not in self.datasets:
            return []
        dataset = self.datasets[name]
        return DataLoader(dataset, batch_size=self.batch_size, shuffle=False, **self._loader_options(dataset))

    def _loader_options(self, dataset: Dataset) -> dict:
        """Options of a loader; one without processes cannot have persistent workers, one on the GPU has neither."""
        on_gpu = getattr(dataset, "on_gpu", False)
        num_workers = 0 if on_gpu else self.num_workers
        on_cuda = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": num_workers,
            "collate_fn": getattr(dataset, "collate", collate),
            "pin_memory": on_cuda and not on_gpu,
            "persistent_workers": num_workers > 0,
            "worker_init_fn": leave_signals_to_parent if num_workers else None,
        }
