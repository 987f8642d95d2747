"""What a command may overwrite: what an earlier run of it wrote, and never a file that it reads."""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nada.run.errors import UserError


def check_output(path, ours: Callable[[Path], bool] | None = None, inputs: Iterable = ()) -> None:
    """Raise an error where writing a file would destroy what the command did not make.

    ours: whether the file that is there is of the kind that the command writes; None: none is. An
    empty file is free, as mktemp makes one. inputs: the files that the command reads, None among
    them for one that is not given. UserError; IsADirectoryError for a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.exists():
        return
    if not path.is_file():  # a device would become a file
        raise UserError(f"{path}: is no regular file; name another.")
    if any(Path(given).exists() and path.samefile(given) for given in inputs if given is not None):
        raise UserError(f"{path}: is what the command reads; name another file to write.")
    if path.stat().st_size and not (ours and ours(path)):
        other = " and is not what this command writes" if ours else ""
        raise UserError(f"{path}: is there already{other}; remove it, or name another file.")


def check_outputs(prefix: str, endings: Iterable[str], inputs: Iterable = ()) -> None:
    """`check_output` for files that are written together, <prefix><ending>.

    Those of an earlier run are all there; where some are missing, the others are somebody's own.
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
