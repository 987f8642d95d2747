"""Unpack zip archives atomically; members that could leave the folder are refused by name."""

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

MAX_RATIO = 200  # unpacked size / packed size; about 1 for images, above 1000 for a zip bomb
CHUNK = 1 << 20  # bytes copied at a time
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # an unsupported compression, a password
    FileExistsError,  # two members with one path
    NotADirectoryError,
    UnicodeDecodeError,  # a name that is not in its declared encoding
)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip into `folder` atomically; returns the number of files.

    A single top-level folder is left out, and so are the files that macOS adds. Of several processes
    one unpacks and the others wait.
    Raises UserError, before anything is written, for a member that leads out of the folder, is a
    link or a special file, or is encrypted; for duplicate names; and for a zip bomb.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            wait_for(zipped.fp)  # another process may be unpacking it
            members = zipped.infolist()
            if is_unpacked(folder):
                return len(layout(members))
            _refuse_unsafe(archive, members)
            need_space(folder, sum(member.file_size for member in members))
            return _extract(zipped, layout(members), folder)
    except (*BROKEN_ZIP, OSError) as error:
        if not isinstance(error, BROKEN_ZIP) and error.errno != errno.EINVAL:
            raise  # EINVAL: the archive refers to an offset before its start
        raise UserError(
            f"{archive} cannot be unpacked ({error}); unpack it by hand into {folder} if you trust it, "
            "or move it away to fetch it again."
        ) from None


def wait_for(file) -> None:
    """Lock a file, waiting for other processes; does nothing where locks are unsupported (NFS)."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def is_unpacked(folder: Path) -> bool:
    """Whether an archive's folder exists and is not empty."""
    return folder.is_dir() and any(folder.iterdir())


def first_lost(archive: Path, folder: Path) -> Path | None:
    """The first unpacked file that is missing or has another size than in the archive, or None."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            inner = layout(zipped.infolist())
    except BROKEN_ZIP:
        return None  # another format, unpacked by hand: nothing to compare
    for name, member in inner.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != member.file_size:
            return path
    return None


def layout(members: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """{path in the folder: member} of the files of an archive."""
    names = {_tidy(m): m for m in members if not m.filename.endswith(("/", "\\"))}
    names = {name: m for name, m in names.items() if not name.startswith("__MACOSX/")}
    tops = {name.partition("/")[0] for name in names}
    if len(tops) == 1 and not tops & set(names):
        names = {name.partition("/")[2]: m for name, m in names.items()}
    return names


def _tidy(member: zipfile.ZipInfo) -> str:
    """A member's name with single forward slashes: "a//b" would lead to "/b"."""
    parts = member.filename.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _refuse_unsafe(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for member in members:
        name = _tidy(member)
        problem = _problem(member) or ("has a duplicate name" if name in seen else None)
        if problem:
            shown = member.filename[:100]
            raise UserError(f"{archive}: its member {shown!r} {problem}; nothing was unpacked.")
        seen.add(name)
    total, packed = sum(member.file_size for member in members), archive.stat().st_size
    if total > MAX_RATIO * packed:
        raise UserError(
            f"{archive}: {packed} bytes would unpack to {total}, more than {MAX_RATIO} times as much; "
            "nothing was unpacked."
        )


def _problem(member: zipfile.ZipInfo) -> str | None:
    """Why a member is unsafe, on any operating system, or None."""
    name = member.orig_filename.replace("\\", "/")  # the stored name: `filename` is cut at a NUL
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not name or "\0" in name:
        return "has no usable name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in name.split("/"):
        return "leads out of the folder"
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is not a regular file"
    if member.flag_bits & 1:
        return "is encrypted"
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
