"""Published weights: what they are, where they come from, and the one place that downloads.

    python -m stable_diffusion.weights list
    python -m stable_diffusion.weights fetch instruct-pix2pix
    python -m stable_diffusion.weights where instruct-pix2pix

Files go to checkpoints/, resume where a download broke off, and are compared with their sha256 before they get their
name.
"""

import argparse
import errno
import http
import os
import re
import sys
import urllib.request
from pathlib import Path

from commands.errors import MissingFileError, UserError
from commands.run import run_command
from formats.hashing import sha256_of_file
from ldm.util import nearest_name
from stable_diffusion.registry import FOLDER, REGISTRY, WeightFile, Weights
from stable_diffusion.tensor_files import check_room

BLOCK = 1 << 20  # bytes read at a time


def find_entry(name: str) -> Weights:
    """Entry of known weights by their name.

    Raises:
        UserError: if there is none.
    """
    if name not in REGISTRY:
        hint = nearest_name(name, list(REGISTRY))
        raise UserError(f"'{name}' is neither a file nor known weights{hint} Known: {', '.join(REGISTRY)}.")
    return REGISTRY[name]


def resolve(name: str | Path) -> Path:
    """Path of weights by the registry's name, or by their path; never downloads.

    Raises:
        MissingFileError: if known weights are not on this machine; the message says what to put where.
        UserError: if it is neither a name nor a path.
    """
    if Path(name).exists():
        return Path(name)
    looks_like_path = Path(name).suffix in (".ckpt", ".safetensors", ".pt", ".pth", ".bin") or os.sep in str(name)
    if str(name) not in REGISTRY and looks_like_path:
        raise MissingFileError(
            f"there is no checkpoint {name}. Known weights (python -m stable_diffusion.weights list): "
            f"{', '.join(REGISTRY)}."
        )
    weights = find_entry(str(name))
    missing = weights.missing()
    if missing:
        raise MissingFileError(how_to_get(str(name), missing))
    return weights.result()


def how_to_get(name: str, missing: list[Path]) -> str:
    """What to do about weights that are not here."""
    weights = REGISTRY[name]
    partly = [path for path in missing if path.exists()]
    state = (
        f"{partly[0]} has another size than published: half a download" if partly else "they are not on this machine"
    )
    pairs = zip(weights.files, weights.places(), strict=True)
    wanted = "\n".join(f"  {_address(weights, file)} -> {path}" for file, path in pairs if path in missing)
    return (
        f"weights '{name}': {state}.\nFetch them with: python -m stable_diffusion.weights fetch {name}\n"
        f"or, without a network, put these files there:\n{wanted}"
    )


def _address(weights: Weights, file: WeightFile) -> str:
    return f"{weights.address}/resolve/main/{file.path}" if weights.repository else file.path


def fetch(name: str) -> Path:
    """Download what is missing of known weights, check it, and return what loading is given.

    Raises:
        UserError: if the name is unknown or a file's hash is wrong.
        MissingFileError: if the network does not answer; the message says what to put where.
        OSError: if the disk has no room.
    """
    weights = find_entry(name)
    missing = weights.missing()
    wanted = [(file, path) for file, path in zip(weights.files, weights.places(), strict=True) if path in missing]
    check_room(FOLDER / name, sum(file.bytes or 0 for file, _ in wanted))
    for file, path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft, sha256 = _from_hub(weights.repository, file) if weights.repository else _from_address(file, path)
        except _network_errors() as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES):
                raise
            reason = " ".join(str(error).split())[:200]
            raise MissingFileError(f"{how_to_get(name, missing)}\n(the network said: {reason})") from error
        check_hash(draft, file.sha256 or sha256)
        draft.replace(path)
    return weights.result()


def _network_errors() -> tuple[type[Exception], ...]:
    """Also those of the HTTP library that huggingface_hub has loaded: httpx or httpx2, by its release."""
    from huggingface_hub.errors import HfHubHTTPError

    clients = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, HfHubHTTPError, *(client.HTTPError for client in clients))


def _from_hub(repository: str, file: WeightFile) -> tuple[Path, str | None]:
    """Download from the hub, going on where it broke off; the file, and its hash by the hub's account."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    sha256 = None
    if file.sha256 is None:
        tag = get_hf_file_metadata(hf_hub_url(repository, file.path)).etag or ""
        sha256 = tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None  # small files have another kind of tag
    return Path(hf_hub_download(repository, file.path, local_dir=FOLDER / ".partial")), sha256


def _from_address(file: WeightFile, path: Path) -> tuple[Path, None]:
    """Download from any address into a .partial file beside `path`, going on where it broke off."""
    draft = path.with_name(path.name + ".partial")
    start = draft.stat().st_size if draft.exists() else 0
    if start and start == file.bytes:
        return draft, None
    request = urllib.request.Request(file.path, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        continued = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        with draft.open("ab" if continued else "wb") as out:
            while block := answer.read(BLOCK):
                out.write(block)
    return draft, None


def check_hash(path: Path, sha256: str | None) -> None:
    """Compare a file with its sha256; a file that differs is removed.

    Raises:
        UserError: if it differs.
    """
    if sha256 is None:
        return
    found = sha256_of_file(path)
    if found != sha256:
        path.unlink()
        raise UserError(f"{path} has sha256 {found}, published is {sha256}: removed. Fetch it again.")


def describe(name: str) -> str:
    """A few lines about known weights."""
    weights = REGISTRY[name]
    here = "on this machine" if not weights.missing() else "not on this machine"
    lines = [f"{name}  ({here}; {weights.licence})", f"    {weights.what}", f"    {weights.address}"]
    for file, path in zip(weights.files, weights.places(), strict=True):
        size = f"{file.bytes:,} bytes" if file.bytes else "size not recorded"
        lines.append(f"    {path}  {size}  sha256 {file.sha256 or 'asked of the hub'}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Subcommands of the command."""
    parser = argparse.ArgumentParser(prog="python -m stable_diffusion.weights", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what is known, and what is on this machine")
    commands.add_parser("fetch", help="download, check, and print where it is").add_argument("name")
    commands.add_parser("where", help="print where it is on this machine").add_argument("name")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; 2 after bad input."""
    opt = make_parser().parse_args(argv)

    def body() -> None:
        if opt.command == "list":
            sys.stdout.write("\n\n".join(describe(name) for name in REGISTRY) + "\n")
            return
        find_entry(opt.name)
        sys.stdout.write(f"{fetch(opt.name) if opt.command == 'fetch' else resolve(opt.name)}\n")

    return run_command("python -m stable_diffusion.weights", body)


if __name__ == "__main__":
    sys.exit(main())
