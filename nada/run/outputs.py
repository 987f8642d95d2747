"""Check the files that a command will write: it may replace only its own earlier output."""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nada.run.errors import UserError


def check_output(path, ours: Callable[[Path], bool] | None = None, inputs: Iterable = ()) -> None:
    """Raise an error if writing to `path` would destroy a file that the command did not make.

    ours: tells whether an existing file is of the kind that the command writes; None: no file is. An
    empty file may be replaced (mktemp makes one). inputs: the files that the command reads, None for
    one that is not given. Raises UserError, or IsADirectoryError for a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.exists():
        return
    if not path.is_file():  # a device would become a file
        raise UserError(f"{path}: is not a regular file; name another.")
    if any(Path(given).exists() and path.samefile(given) for given in inputs if given is not None):
        raise UserError(f"{path}: is an input of this command; name another file to write.")
    if path.stat().st_size and not (ours and ours(path)):
        other = " and is not what this command writes" if ours else ""
        raise UserError(f"{path}: exists already{other}; remove it, or name another file.")


def check_outputs(prefix: str, endings: Iterable[str], inputs: Iterable = ()) -> None:
    """`check_output` for files that are written together, <prefix><ending>.

    If all of them exist, they are an earlier output and are replaced. If only some exist, they are
    treated as foreign files.
    """
    paths = [Path(f"{prefix}{ending}") for ending in endings]
    together = all(path.exists() for path in paths)
    for path in paths:
        check_output(path, lambda _: together, inputs)


def begins_with(line: str) -> Callable[[Path], bool]:
    """Whether a text file's first line is this one, for `ours`."""

    def ours(path: Path) -> bool:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline(len(line) + 2).rstrip("\n") == line

    return ours
