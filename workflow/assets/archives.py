"""Zip archives unpacked whole or not at all; what could leave its folder is refused by name."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from nada.run.errors import UserError
from workflow.assets.download import need_space

MAX_RATIO = 200  # unpacked to packed; pictures are near 1, a bomb is beyond 1000
CHUNK = 1 << 20  # bytes copied at once
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # a compression that Python lacks, a password
    FileExistsError,  # two names for one place
    NotADirectoryError,
    UnicodeDecodeError,  # a name that is not in the coding that it claims
)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip into `folder`, which appears whole or not at all; returns the count of files.

    A single folder around everything is left out, and so is what macOS adds. Of several processes
    one unpacks and the others wait for it.
    Raises UserError, before anything is written, for a member that would climb out of the folder,
    is a link or no plain file, or is locked; for two of one name; and for a bomb.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            wait_for(zipped.fp)  # another process may be at it
            members = zipped.infolist()
            if is_unpacked(folder):
                return len(layout(members))
            _refuse_unsafe(archive, members)
            need_space(folder, sum(member.file_size for member in members))
            return _extract(zipped, layout(members), folder)
    except (*BROKEN_ZIP, OSError) as error:
        if not isinstance(error, BROKEN_ZIP) and error.errno != errno.EINVAL:
            raise  # EINVAL: the archive names a place before its start
        raise UserError(
            f"{archive} cannot be unpacked ({error}); unpack it by hand into {folder} if you trust it, "
            "else move it away to fetch it again."
        ) from None


def wait_for(file) -> None:
    """Wait until no other process holds this file, and hold it; NFS may not know who does."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def is_unpacked(folder: Path) -> bool:
    """Is there anything in a folder that an archive belongs into?"""
    return folder.is_dir() and any(folder.iterdir())


def first_lost(archive: Path, folder: Path) -> Path | None:
    """The first file of an unpacked archive that is missing or has another size; None for none."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            inner = layout(zipped.infolist())
    except BROKEN_ZIP:
        return None  # unpacked by hand from another form; nothing to compare with
    for name, member in inner.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != member.file_size:
            return path
    return None


def layout(members: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """{where it goes in the folder: member} of the files of an archive."""
    names = {_tidy(m): m for m in members if not m.filename.endswith(("/", "\\"))}
    names = {name: m for name, m in names.items() if not name.startswith("__MACOSX/")}
    tops = {name.partition("/")[0] for name in names}
    if len(tops) == 1 and not tops & set(names):
        names = {name.partition("/")[2]: m for name, m in names.items()}
    return names


def _tidy(member: zipfile.ZipInfo) -> str:
    """A member's name with forward slashes, each between two names: "a//b" would lead to "/b"."""
    parts = member.filename.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _refuse_unsafe(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for member in members:
        name = _tidy(member)
        problem = _problem(member) or ("is there twice" if name in seen else None)
        if problem:
            shown = member.filename[:100]
            raise UserError(f"{archive}: its member {shown!r} {problem}; nothing was unpacked.")
        seen.add(name)
    total, packed = sum(member.file_size for member in members), archive.stat().st_size
    if total > MAX_RATIO * packed:
        raise UserError(
            f"{archive}: {packed} bytes would unpack to {total}, more than {MAX_RATIO} times as many; "
            "nothing was unpacked."
        )


def _problem(member: zipfile.ZipInfo) -> str | None:
    """What makes a member unsafe, whatever system wrote the archive."""
    name = member.orig_filename.replace("\\", "/")  # as written: filename ends at a NUL
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not name or "\0" in name:
        return "has no usable name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in name.split("/"):
        return "climbs out of the folder"
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is no plain file"
    if member.flag_bits & 1:
        return "is locked with a password"
    return None


def _extract(zipped: zipfile.ZipFile, inner: dict[str, zipfile.ZipInfo], folder: Path) -> int:
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, member in inner.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(member) as packed, open(path, "xb") as out:
                shutil.copyfileobj(packed, out, CHUNK)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return len(inner)
