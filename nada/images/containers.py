"""Where image sets lie: a folder, zip or LMDB as names and bytes, looked through without trust.

`open_source` finds out what lies at a path, `listed` says which of its images are meant, in which
order and with which labels, and `source.reading()` gives their bytes. Names that leave the source,
links out of it, encrypted members and what cannot be told apart are refused by name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path

from nada.images.files import DAMAGED, HUGE, Unusable
from nada.run.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LABELS = "dataset.json"  # StyleGAN2-ADA's dataset_tool.py writes it into a set's root
MAX_BYTES = 1 << 28  # of one encoded image, unpacked
NAMED = 5  # so many names stand in a message or report
# What reading a damaged file raises; RuntimeError: a zip that asks for a password or a rare packing;
# UnicodeDecodeError: a name that is not in the coding that it claims.
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError)


# ------------------------------------------------------------------------ folders, zips and LMDBs


class Source:
    """Images in one place, each under a name; `kind` is what an index calls the place.

    A sub-class lists them and has `_read(name)`, or a `reading` of its own.
    """

    kind: str

    def __init__(self, path: Path):
        self.path = path

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        """(names of images, names of other files), both sorted; no image is read for it.

        resolution: of a source that has its images in several sizes, which is wanted.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def reading(self):
        """`with source.reading() as read: data = read(name)`; read raises Unusable."""
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
                elif name in files or path.is_symlink():  # a linked folder inside is seen once
                    others.append(relative)
        refuse(self.path, leaving, "links that leave the folder", "put the files there instead")
        return sorted(images), sorted(others)

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise Unusable(DAMAGED, "no regular file")
            if not self._inside(path):
                raise Unusable(DAMAGED, "a link that leaves the folder")
            if about.st_size > MAX_BYTES:
                raise Unusable(HUGE, f"{about.st_size} bytes, the bound is {MAX_BYTES}")
            return path.read_bytes()
        except OSError as error:
            raise Unusable(DAMAGED, error.strerror or str(error)) from error

    def _inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # a link to itself; reading it says so
            return True

    def _closed(self, error: OSError):
        raise UserError(f"the folder {error.filename} cannot be read ({error.strerror}).")


class Zip(Source):
    """Members of a zip archive, stored or deflated.

    Names are given with slashes: some programs of Windows write backslashes, though a zip must not
    have them (PKWARE's APPNOTE, 4.4.17), and other programs there read them as slashes.
    """

    kind = "zip"

    def __init__(self, path: Path):
        super().__init__(path)
        self._archive, self._process = None, None
        self._files: dict[str, zipfile.ZipInfo] = {}

    def __reduce__(self):  # an open archive does not travel to another process
        return type(self), (self.path,)

    def members(self, resolution: int) -> tuple[list[str], list[str]]:
        self._refuse_unsafe(self._open().infolist())
        files = sorted(self._files)
        images = [name for name in files if _is_image_name(name)]
        return images, [name for name in files if not _is_image_name(name)]

    def _refuse_unsafe(self, infos: list[zipfile.ZipInfo]) -> None:
        """Whatever could leave the archive, or cannot be told apart or opened."""
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
        refuse(self.path, again, "names that stand there twice", advice)
        refuse(self.path, links, "links", advice)
        refuse(self.path, encrypted, "encrypted members", "make the zip again without a password")
        refuse(self.path, packed, "members neither stored nor deflated", "make the zip again")

    def _read(self, name: str) -> bytes:
        try:
            self._open()
            info = self._files[with_slashes(name)]
            if info.file_size > MAX_BYTES:
                raise Unusable(HUGE, f"{info.file_size} bytes, the bound is {MAX_BYTES}")
            return self._archive.read(info)  # reads no further than file_size
        except KeyError:
            raise Unusable(DAMAGED, "no longer in the archive") from None
        except BROKEN as error:
            raise Unusable(DAMAGED, str(error)) from error

    def _open(self) -> zipfile.ZipFile:
        """The archive, opened once in each process: forked ones share the place in a file."""
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
                f"{self.path} has no key 'length' with a number in it; wanted are the keys "
                "'256-00000'… and 'length', as prepare_data.py of StyleGAN2-pytorch writes them."
            )
        sizes = {_size_of(key) for key in keys} - {None}
        if not sizes:
            raise UserError(f"{self.path} has no key like '256-00000'; it holds no images.")
        # The size that was asked for, else the next larger one, else the largest.
        size = min((s for s in sizes if s >= resolution), default=max(sizes))
        there = sum(_size_of(key) == size for key in keys)
        # also: nobody can list the names of a billion that are not there
        if int(length) > 2 * there:
            raise UserError(
                f"{self.path} says in 'length' that it has {int(length)} images, but {there} of "
                f"{size} px are there; make it again, or restore it."
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
        """A page beyond the end of a truncated file would kill the process (SIGBUS)."""
        file = self.path / "data.mdb" if self.path.is_dir() else self.path
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if file.stat().st_size < needed:
            raise UserError(
                f"the LMDB {self.path} is truncated: {file.stat().st_size} bytes of {needed}; "
                "restore it."
            )


KINDS = {source.kind: source for source in (Folder, Zip, Lmdb)}


def open_source(path: Path) -> Source:
    """The folder, zip or LMDB at a path. UserError: nothing there, or something else."""
    if not path.exists():
        raise UserError(f"the image source {path} is missing; correct the path.")
    if path.is_dir():
        return Lmdb(path) if (path / "data.mdb").is_file() else Folder(path)
    kinds = {".zip": Zip, ".mdb": Lmdb}
    if path.suffix.lower() not in kinds:
        raise UserError(f"{path} is no image source; give a folder, a .zip or an LMDB.")
    return kinds[path.suffix.lower()](path)


def _size_of(key: bytes) -> int | None:
    """The size that an LMDB's key names, None where it names no image."""
    match = re.fullmatch(rb"([0-9]+)-[0-9]{5,}", key)
    return int(match[1]) if match else None


def _is_image_name(name: str) -> bool:
    """By suffix; hidden files and what macOS adds to a zip are none."""
    hidden = any(p.startswith(".") or p == "__MACOSX" for p in with_slashes(name).split("/"))
    return not hidden and name.lower().endswith(SUFFIXES)


# ------------------------------------------------------------------------- which images are meant


def listed(
    source: Source,
    resolution: int,
    splits: list[str] | None = None,
    start: int = 0,
    limit: int | None = None,
) -> tuple[list[str], dict | None, list[str]]:
    """(names of the images, the label of each by name or None, names of other files).

    splits: only images in these folders, below the source's one common folder if it has one; of
    their sorted names, `limit` from number `start` on. Raises UserError where there are none, for
    names that cannot stand in an index, and for labels that do not fit the images.
    """
    names, others = source.members(resolution)
    wrong = [name for name in names if name.encode(errors="replace").decode() != name]
    refuse(source.path, wrong, "names that are not UTF-8", "rename them")  # as an index is
    labels = _labels(source, names, others)
    if labels is not None:
        others = [name for name in others if name != LABELS]
    names = _of_split(source, names, splits)[start:][:limit]
    if not names:
        raise UserError(
            f"{source.path} has no images{f' from number {start} on' if start else ''}; "
            f"wanted are {', '.join(SUFFIXES)} files, or the keys of an LMDB."
        )
    return names, labels, others


def _of_split(source: Source, names: list[str], splits: list[str] | None) -> list[str]:
    """The names in the splits' folders; every one of these must have images."""
    if splits is None:
        return names
    if source.kind == "lmdb":
        raise UserError(f"{source.path} is an LMDB, which has no splits; leave --split out.")
    tops = {name.split("/")[0] if "/" in name else "" for name in names}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    chosen = set()
    for split in splits:
        folder = (with_slashes(split) if source.kind == "zip" else split).strip("/") + "/"
        inside = [name for name in names if name.startswith((folder, top + folder))]
        if not inside:
            folders = sorted({name.rpartition("/")[0] for name in names} - {""})
            raise UserError(
                f"split '{split}': {source.path} has no images there; "
                f"its folders with images are {first_few(folders) or 'none'}."
            )
        chosen.update(inside)
    return [name for name in names if name in chosen]


def _labels(source: Source, names: list[str], others: list[str]) -> dict | None:
    """The class of each image from dataset.json, or None where it gives none."""
    if LABELS not in others or source.kind == "lmdb":
        return None
    where = f"{source.path}: {LABELS}"
    try:
        with source.reading() as read:
            labels = json.loads(read(LABELS))["labels"]
        if labels is None:
            return None
        labels = [(name, label) for name, label in labels]
        if source.kind == "zip":
            labels = [(with_slashes(name), label) for name, label in labels]
        known = dict(labels)
    except (Unusable, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f'{where} cannot be read ({error}); it must be {{"labels": null}} or '
            '{"labels": [[name, class], …]}.'
        ) from error
    wrong = [str(name) for name, label in labels if not _is_label(label)]
    refuse(where, wrong, "labels that are no numbers", "correct them")
    there = set(names)
    absent = [str(name) for name in known if name not in there]
    refuse(where, absent, "names of images that are not there", "restore them, or correct it")
    refuse(where, [n for n in names if n not in known], "no label for images", "correct it")
    if len(known) != len(labels):
        raise UserError(f"{where} names {len(labels) - len(known)} images twice; correct it.")
    return known


def _is_label(label) -> bool:
    """A class number, or a vector of numbers, as dataset_tool.py's readers take them."""
    if isinstance(label, list):
        finite = (type(x) in (int, float) and -math.inf < x < math.inf for x in label)
        return bool(label) and all(finite)
    return type(label) is int and label >= 0


# --------------------------------------------------------------------------- names in an error


def climbs(name: str) -> bool:
    """Whether a name leads out of its folder, on any system."""
    absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name)
    return bool(absolute) or ".." in re.split(r"[/\\]", name) or "\0" in name


def _climbs_on_windows(name: str) -> bool:
    """As `climbs`, and a name that begins at a drive's current folder."""
    return climbs(name) or re.match("[A-Za-z]:", name) is not None


def with_slashes(name: str) -> str:
    """A name whose folders are set off by slashes alone."""
    return name.replace("\\", "/")


def refuse(source, names: list[str], what: str, advice: str) -> None:
    """Raise UserError where there are such names: of the source, what they are, what to do."""
    if names:
        raise UserError(f"{source} has {what}: {len(names)} ({first_few(names)}); {advice}.")


def first_few(names: list[str], count: int | None = None) -> str:
    """The first few names, and how many more there are; count: of all, where only those are given."""
    shown, count = [printable(name) for name in names[:NAMED]], count or len(names)
    more = f", … {count - len(shown)} more" if count > len(shown) else ""
    return ", ".join(shown) + more


def printable(name: str) -> str:
    """A file's name may hold what no terminal takes: bytes that are not UTF-8, line breaks, commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
