"""The published weights that this project knows, as registry.yaml lists them: addresses, sizes, hashes, licences."""

from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path("checkpoints")  # in the working directory; where InstructPix2Pix's own scripts look
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class WeightFile:
    """One file of a set of weights."""

    path: str  # in its repository, or the whole address where there is none
    bytes: int | None = None  # None where no record was found; then the hub is asked at download
    sha256: str | None = None
    name: str | None = None  # name on disk; its path in the repository by default


@dataclass(frozen=True)
class Weights:
    """A published set of weights."""

    what: str
    licence: str
    files: tuple[WeightFile, ...]
    repository: str | None = None  # on the hub; None for files at other addresses
    folder: str | None = None  # of its own under checkpoints/; None for a single file

    @property
    def address(self) -> str:
        """Where a person can look."""
        return f"{HUB}/{self.repository}" if self.repository else self.files[0].path

    def places(self) -> list[Path]:
        """Where its files lie, or are to lie, on this machine."""
        base = FOLDER / self.folder if self.folder else FOLDER
        return [base / (file.name or file.path) for file in self.files]

    def result(self) -> Path:
        """What loading is given: the folder, or the one file."""
        return FOLDER / self.folder if self.folder else self.places()[0]

    def missing(self) -> list[Path]:
        """Files that are not here yet, or have another size than published."""
        pairs = zip(self.files, self.places(), strict=True)
        return [p for f, p in pairs if not p.is_file() or (f.bytes is not None and p.stat().st_size != f.bytes)]


def _read_registry() -> dict[str, Weights]:
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    made = {
        name: entry | {"files": tuple(WeightFile(*file) for file in entry["files"])} for name, entry in entries.items()
    }
    return {name: Weights(**entry) for name, entry in made.items()}


REGISTRY = _read_registry()
