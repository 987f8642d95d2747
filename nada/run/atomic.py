"""Files appear whole or not at all: write to a temporary name, then rename."""

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
NO_SPACE_BYTES = 1 << 16  # a writer that hides its errno failed for want of space below this


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary name beside `path` (same suffix); rename it on success, else remove it.

    Parent folders are made. A full disk raises OSError(ENOSPC) naming `path`, whatever the writer
    (torch, safetensors) raised; the file that was at `path` before is untouched by any failure.
    UserError where a device or a pipe is there.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder is told by the rename
        raise UserError(f"{path}: is no regular file and would become one; name another.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # some writers (safetensors) give the owner alone access
        os.replace(temporary, path)
    except BaseException as error:
        full = _is_full_disk(error, path.parent)  # asked before the removal frees the space
        temporary.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def write_json(path, value) -> None:
    """Write `value` as JSON with sorted keys: equal values give equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(canonical_json(value, indent=1) + "\n", encoding="utf-8")


def canonical_json(value, indent: int | None = None) -> str:
    """JSON with sorted keys and no NaN, the form that is hashed and compared."""
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
