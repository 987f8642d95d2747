"""Read weight files, and check them against the hashes in their folder's manifest.json."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from nada.run.atomic import sha256
from nada.run.errors import UserError
from nada.run.finite import check_finite, used

MANIFEST = "manifest.json"
# One metadata key: safetensors writes several in random order, and equal models must give equal bytes.
METADATA_KEY = "json"


def existing(path) -> Path:
    """The path of a weight file. Raises UserError if it is missing, a folder, or unreadable."""
    path = Path(path)
    try:
        if path.is_file():
            with open(path, "rb") as file:
                file.read(1)
            return path
        folder = path.is_dir()
    except OSError as error:
        raise UserError(
            f"the weight file {path} cannot be read ({error.strerror}); correct its path or rights."
        ) from None
    if folder:
        raise UserError(f"the weight file {path} is a folder; name a file in it.")
    raise UserError(f"the weight file {path} is missing; restore it, or correct the path.")


def verify_weights(path) -> str:
    """Compare a weight file with `manifest.json` in its folder and return its SHA-256.

    The manifest is {"files": {name: {"sha256": hex, …}}}. A file that it does not list, or whose
    folder has no manifest, is not compared. Raises UserError if the file is missing or its hash
    differs.
    """
    path = existing(path)
    found = sha256(path)
    expected = _expected(path)
    if expected is not None and found != expected:
        raise UserError(
            f"the weight file {path} has SHA-256 {found[:12]}…, but {MANIFEST} in its folder has "
            f"{expected[:12]}…; restore the file (git checkout, or download it again)."
        )
    return found


def read_weights(
    path, unused: tuple[str, ...] = ()
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file: (tensors, metadata); every floating-point tensor becomes float32.

    unused: last names of tensors that are not weights; they are left out. Raises UserError if the file
    is missing, truncated or not a safetensors file, or if a tensor has NaN or infinity.
    """
    path = existing(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    # a header may name shapes and types that torch does not have
    except (SafetensorError, OSError, TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weight file {path} is truncated or no safetensors file ({reason}); restore it."
        ) from error
    tensors = used(tensors, unused)
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    check_finite(path, tensors)
    return tensors, metadata


def described(metadata: dict[str, str]) -> dict:
    """The metadata of this project's files, from their single key; {} if it is not a mapping."""
    try:
        about = json.loads(metadata[METADATA_KEY])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _expected(path: Path) -> str | None:
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        return None
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        entry = files.get(path.name)
        return None if entry is None else entry["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"the manifest {manifest} cannot be read ({type(error).__name__}: {error}); it must be "
            '{"files": {name: {"sha256": …}}}: restore it.'
        ) from error
