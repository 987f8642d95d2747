"""Sources of images: a folder, zip or LMDB, listed and read without trusting its contents.

`open_source` opens a path, `source.members()` lists names, and `source.reading()` reads bytes. Names
and links that lead out of the source, encrypted members and duplicate names are refused by name.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path

from nada.images.files import DAMAGED, HUGE, Unusable
from nada.run.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_BYTES = 1 << 28  # limit of one encoded image, uncompressed
NAMED = 5  # names listed in a message or report
# Errors from reading a damaged file. RuntimeError: a zip with a password or a rare compression;
# UnicodeDecodeError: a name that is not in its declared encoding.
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError)


# ------------------------------------------------------------------------ folders, zips and LMDBs


class Source:
    """Named images in one place; `kind` is the name of the format in an index.

    A subclass implements `members`, and either `_read(name)` or `reading`.
    """

    kind: str

    def __init__(self, path: Path):
        self.path = path

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        """(names of images, names of other files), both sorted; reads no image.

        resolution: the wanted size, for a source that stores each image in several sizes.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def reading(self):
        """`with source.reading() as read: data = read(name)`; `read` raises Unusable."""
        yield self._read


class Folder(Source):
    """Files below a folder."""

    kind = "folder"

    def __init__(self, path: Path):
        super().__init__(path)
        self._root = path.resolve()

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        images, others, leaving = [], [], []
        for folder, folders, files in os.walk(self.path, onerror=self._closed):
            for name in [*folders, *files]:
                path = Path(folder, name)
                relative = path.relative_to(self.path).as_posix()
                is_image = name in files and _is_image_name(relative)
                if path.is_symlink() and (is_image or path.is_dir()) and not self._inside(path):
                    leaving.append(relative)
                elif is_image:
                    images.append(relative)
                elif name in files or path.is_symlink():  # os.walk does not enter linked folders
                    others.append(relative)
        refuse(self.path, leaving, "links that leave the folder", "copy the files into it")
        return sorted(images), sorted(others)

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise Unusable(DAMAGED, "not a regular file")
            if not self._inside(path):
                raise Unusable(DAMAGED, "a link that leaves the folder")
            if about.st_size > MAX_BYTES:
                raise Unusable(HUGE, f"{about.st_size} bytes, the limit is {MAX_BYTES}")
            return path.read_bytes()
        except OSError as error:
            raise Unusable(DAMAGED, error.strerror or str(error)) from error

    def _inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # a link to itself: reading it fails
            return True

    def _closed(self, error: OSError):
        raise UserError(f"the folder {error.filename} cannot be read ({error.strerror}).")


class Zip(Source):
    """Members of a zip archive, stored or deflated.

    Backslashes in names are read as slashes: some Windows programs write them, although the
    format forbids it (PKWARE's APPNOTE, 4.4.17).
    """

    kind = "zip"

    def __init__(self, path: Path):
        super().__init__(path)
        self._archive, self._process = None, None
        self._files: dict[str, zipfile.ZipInfo] = {}

    def __reduce__(self):  # an open archive cannot be pickled
        return type(self), (self.path,)

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        self._refuse_unsafe(self._open().infolist())
        files = sorted(self._files)
        images = [name for name in files if _is_image_name(name)]
        return images, [name for name in files if not _is_image_name(name)]

    def _refuse_unsafe(self, infos: list[zipfile.ZipInfo]) -> None:
        """Raise UserError for members that lead out of the archive, are ambiguous or cannot be read."""
        names = [with_slashes(info.filename) for info in infos]
        once = set()
        again = [name for name in names if name in once or once.add(name)]
        climbing = [i.filename for i in infos if _climbs_on_windows(i.orig_filename)]
        links = [i.filename for i in infos if stat.S_ISLNK(i.external_attr >> 16)]
        encrypted = [i.filename for i in infos if i.flag_bits & 1]
        methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        packed = [i.filename for i in infos if i.compress_type not in methods]
        advice = "make the zip again without them"
        refuse(self.path, climbing, "names that leave the archive", advice)
        refuse(self.path, again, "duplicate names", advice)
        refuse(self.path, links, "links", advice)
        refuse(self.path, encrypted, "encrypted members", "make the zip again without a password")
        refuse(self.path, packed, "members that are neither stored nor deflated", "make the zip again")

    def _read(self, name: str) -> bytes:
        try:
            self._open()
            info = self._files[with_slashes(name)]
            if info.file_size > MAX_BYTES:
                raise Unusable(HUGE, f"{info.file_size} bytes, the limit is {MAX_BYTES}")
            return self._archive.read(info)  # reads at most file_size bytes
        except KeyError:
            raise Unusable(DAMAGED, "no longer in the archive") from None
        except BROKEN as error:
            raise Unusable(DAMAGED, str(error)) from error

    def _open(self) -> zipfile.ZipFile:
        """The archive, opened once per process: forked processes share the position in a file."""
        if self._process != os.getpid():
            try:
                self._archive, self._process = zipfile.ZipFile(self.path), os.getpid()
            except BROKEN as error:
                raise UserError(
                    f"the archive {self.path} cannot be read ({error}); restore it."
                ) from error
            every = {with_slashes(info.filename): info for info in self._archive.infolist()}
            self._files = {name: i for name, i in every.items() if not name.endswith("/")}
        return self._archive


class Lmdb(Source):
    """Keys `<size>-00000` … and `length` (rosinality, Ojha et al.: prepare_data.py)."""

    kind = "lmdb"

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        with self._transaction() as transaction:
            keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
            length = transaction.get(b"length")
        if length is None or not re.fullmatch(rb"[0-9]{1,9}", length):
            raise UserError(
                f"{self.path} has no key 'length' with a number; it must have the keys "
                "'256-00000'… and 'length', as prepare_data.py of StyleGAN2-pytorch writes them."
            )
        sizes = {_size_of(key) for key in keys} - {None}
        if not sizes:
            raise UserError(f"{self.path} has no key like '256-00000'; it holds no images.")
        # The requested size, or the next larger one, or the largest.
        size = min((s for s in sizes if s >= resolution), default=max(sizes))
        there = sum(_size_of(key) == size for key in keys)
        # also bounds the list of names: a damaged length may be a billion
        if int(length) > 2 * there:
            raise UserError(
                f"the key 'length' of {self.path} says {int(length)} images, but it has {there} "
                f"of {size} px; make it again, or restore it."
            )
        images = [f"{size}-{number:05d}" for number in range(int(length))]
        known = {*(name.encode() for name in images), b"length"}
        unknown = [key for key in keys if key not in known and _size_of(key) in (None, size)]
        return images, [key.decode(errors="replace") for key in unknown]

    @contextlib.contextmanager
    def reading(self):
        with self._transaction() as transaction:
            yield lambda name: self._value(transaction, name)

    def _value(self, transaction, name: str) -> bytes:
        data = transaction.get(name.encode())
        if data is None:
            raise Unusable(DAMAGED, "the key is missing")
        return data

    @contextlib.contextmanager
    def _transaction(self):
        try:
            import lmdb
        except ImportError:
            raise UserError(
                f"{self.path} is an LMDB, and the package lmdb is not installed; "
                "run 'pip install lmdb', or give the images as a folder or zip."
            ) from None
        options = {"readonly": True, "lock": False, "create": False, "readahead": False}
        try:
            with lmdb.open(str(self.path), subdir=self.path.is_dir(), **options) as environment:
                self._check_length(environment)
                with environment.begin() as transaction:
                    yield transaction
        except lmdb.Error as error:
            raise UserError(f"the LMDB {self.path} cannot be read ({error}).") from error

    def _check_length(self, environment) -> None:
        """Raise UserError for a truncated file: reading a page beyond its end kills the process
        (SIGBUS)."""
        file = self.path / "data.mdb" if self.path.is_dir() else self.path
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if file.stat().st_size < needed:
            raise UserError(
                f"the LMDB {self.path} is truncated: {file.stat().st_size} bytes of {needed}; "
                "restore it."
            )


KINDS = {source.kind: source for source in (Folder, Zip, Lmdb)}


def open_source(path: Path) -> Source:
    """The folder, zip or LMDB at a path. Raises UserError for anything else."""
    if not path.exists():
        raise UserError(f"the image source {path} is missing; correct the path.")
    if path.is_dir():
        return Lmdb(path) if (path / "data.mdb").is_file() else Folder(path)
    kinds = {".zip": Zip, ".mdb": Lmdb}
    if path.suffix.lower() not in kinds:
        raise UserError(f"{path} is not an image source; give a folder, a .zip or an LMDB.")
    return kinds[path.suffix.lower()](path)


def _size_of(key: bytes) -> int | None:
    """The image size in an LMDB key, or None where the key is not of an image."""
    match = re.fullmatch(rb"([0-9]+)-[0-9]{5,}", key)
    return int(match[1]) if match else None


def _is_image_name(name: str) -> bool:
    """Decided by suffix; hidden files and those that macOS adds to a zip do not count."""
    hidden = any(p.startswith(".") or p == "__MACOSX" for p in with_slashes(name).split("/"))
    return not hidden and name.lower().endswith(SUFFIXES)


# --------------------------------------------------------------------------- names in an error


def climbs(name: str) -> bool:
    """Whether a name leads out of its folder, on any operating system."""
    absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name)
    return bool(absolute) or ".." in re.split(r"[/\\]", name) or "\0" in name


def _climbs_on_windows(name: str) -> bool:
    """As `climbs`, or relative to the current folder of a drive (`C:name`)."""
    return climbs(name) or re.match("[A-Za-z]:", name) is not None


def with_slashes(name: str) -> str:
    """The name with backslashes replaced by slashes."""
    return name.replace("\\", "/")


def refuse(source, names: list[str], what: str, advice: str) -> None:
    """Raise UserError if there are such names; what: what they are, advice: what to do."""
    if names:
        raise UserError(f"{source} has {what}: {len(names)} ({first_few(names)}); {advice}.")


def first_few(names: list[str], count: int | None = None) -> str:
    """The first few names, and how many more there are; count: the total, if `names` is shortened."""
    shown, count = [printable(name) for name in names[:NAMED]], count or len(names)
    more = f", … {count - len(shown)} more" if count > len(shown) else ""
    return ", ".join(shown) + more


def printable(name: str) -> str:
    """A name with unprintable characters escaped (line breaks, terminal commands, invalid UTF-8)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
