"""Atomic writes: files are written under a temporary name and then renamed. Also JSON and SHA-256."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

from nada.run.errors import FULL_DISK, UserError

_UMASK = os.umask(0)  # the only way to read it is to set it
os.umask(_UMASK)
NO_SPACE_BYTES = 1 << 16  # with less space left, an error without errno is taken for a full disk


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary name in the folder of `path`, with its suffix; rename on success, remove on failure.

    Creates parent folders. A full disk raises OSError(ENOSPC) with `path`, whatever the writer
    (torch, safetensors) raised. An earlier file at `path` survives every failure. Raises UserError
    if `path` is a device or a pipe.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # the rename refuses a folder
        raise UserError(f"{path}: is not a regular file and would be replaced by one; name another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # some writers (safetensors) give access only to the owner
        os.replace(temporary, path)
    except BaseException as error:
        full = _is_full_disk(error, path.parent)  # checked before the removal frees space
        temporary.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def write_json(path, value) -> None:
    """Write `value` as JSON with sorted keys; equal values give equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(canonical_json(value, indent=1) + "\n", encoding="utf-8")


def canonical_json(value, indent: int | None = None) -> str:
    """JSON with sorted keys and without NaN, for hashes and comparisons."""
    return json.dumps(value, sort_keys=True, indent=indent, allow_nan=False, ensure_ascii=False)


def sha256(path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_full_disk(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL_DISK
    if not isinstance(error, Exception):
        return False
    return "No space left" in str(error) or shutil.disk_usage(folder).free < NO_SPACE_BYTES
