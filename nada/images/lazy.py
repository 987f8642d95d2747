"""Image sets read lazily: rows of a .npz file, or of an index of a folder, zip or LMDB.

`open_images` opens either; only the requested rows are decoded. `nada.images.sets` makes an
index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nada.images.containers import BROKEN, KINDS, climbs, open_source, refuse
from nada.images.files import Policy, Unusable, to_pixels
from nada.run.errors import UserError

FORMATS = "stylegan-nada image index"  # of every version
FORMAT = f"{FORMATS} 1"


class ImageSet:
    """Images of one shape, read on demand; only the requested rows are in memory.

    names: one for each row; shape: (H, W). `s[rows]` takes a slice or a 1-D array of row numbers,
    as numpy does, and gives uint8 [n,H,W,3]. Reading raises UserError if the files have changed.
    Not thread-safe; several processes may share it.
    """

    def __init__(self, names: list[str], shape: tuple[int, int]):
        self.names, self.shape = names, shape

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows) -> np.ndarray:
        """uint8 [n,H,W,3]; IndexError for rows that do not exist."""
        numbers = self._numbers(rows)
        images = np.empty((len(numbers), *self.shape, 3), np.uint8)
        for image, pixels in zip(images, self._pixels(numbers), strict=True):
            image[...] = pixels
        return images

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All images in order, uint8 [size,H,W,3] at a time (the last batch may be smaller)."""
        if size < 1:
            raise ValueError(f"size {size}: a batch has 1 image or more")
        return (self[i : i + size] for i in range(0, len(self), size))

    def sha256(self, rows=slice(None)) -> str:
        """Hex SHA-256 of `s[rows].tobytes()`, without holding all rows at once."""
        digest = hashlib.sha256()
        for pixels in self._pixels(self._numbers(rows)):
            digest.update(pixels.tobytes())
        return digest.hexdigest()

    def _numbers(self, rows) -> np.ndarray:
        numbers = np.arange(len(self))[rows]
        if numbers.ndim != 1:
            raise TypeError("rows must be a slice or a 1-D array of row numbers")
        return numbers

    def _pixels(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """The images with these numbers, one after the other: uint8 [H,W,3]."""
        raise NotImplementedError


def open_images(path, verify: bool = False) -> ImageSet:
    """Open a .npz file ('images': uint8 [N,H,W,3]) or an index (.json) for lazy reading.

    verify: compare the SHA-256 of each image of an index when it is read; otherwise only its size is
    compared. Raises UserError for a missing or damaged file, and for other contents.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"the image file {path} is missing; make it, or correct the path.")
    if path.suffix.lower() == ".npz":
        return _NpzSet(path)
    if path.suffix.lower() == ".json":
        return _IndexedSet(path, verify)
    raise UserError(
        f"{path} is neither a .npz file nor an index; make an index of it: "
        f"python -m nada.images.sets --source {path} --resolution R --out FILE.json."
    )


class _IndexedSet(ImageSet):
    def __init__(self, path: Path, verify: bool):
        index = _read_index(path)
        self._path, self._images, self._verify = path, index["images"], verify
        chosen = index["policy"]
        self._policy = Policy(index["resolution"], chosen["resize"], chosen["enlarge"])
        try:
            self._source = open_source(path.parent / index["source"])
        except UserError as error:
            raise UserError(f"the index {path}: {error}") from error
        if self._source.kind != index["kind"]:
            raise UserError(
                f"the index {path} is of a {index['kind']}, but {self._source.path} is a "
                f"{self._source.kind}; correct 'source', or make the index again."
            )
        names = [image["name"] for image in self._images]
        super().__init__(names, (index["resolution"], index["resolution"]))

    def _pixels(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        with self._source.reading() as read:
            for number in numbers:
                yield self._read(read, self._images[number])

    def _read(self, read, image: dict) -> np.ndarray:
        try:
            pixels, size, _ = to_pixels(read(image["name"]), self._policy)
        except Unusable as error:
            raise self._changed(image, str(error)) from error
        if size != image["size"]:
            raise self._changed(image, f"its size is {size}, not {image['size']}")
        if self._verify and hashlib.sha256(pixels.tobytes()).hexdigest() != image["sha256"]:
            raise self._changed(image, "its pixels differ, because of another file or another version of Pillow")
        return pixels

    def _changed(self, image: dict, why: str) -> UserError:
        return UserError(
            f"the image {image['name']} of {self._source.path} does not match the index "
            f"{self._path} ({why}); restore it, or make the index again."
        )


def _read_index(path: Path) -> dict:
    """Read an index and check every field that `_IndexedSet` relies on."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"the index {path} cannot be read ({error}); make it again.") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(
            f"{path} is not an index of images ('format' must be '{FORMAT}'); make one with "
            "python -m nada.images.sets."
        )
    try:
        chosen, images = index["policy"], index["images"]
        sound = (
            isinstance(index["source"], str)
            and index["kind"] in KINDS
            and Policy(index["resolution"], chosen["resize"], chosen["enlarge"])
            and len(images) > 0
            and all(isinstance(image["name"], str) for image in images)
            and all(re.fullmatch("[0-9a-f]{64}", image["sha256"]) for image in images)
            and all(len(image["size"]) == 2 for image in images)
        )
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(f"the index {path} lacks keys or has wrong values; make it again.")
    climbing = [image["name"] for image in images if climbs(image["name"])]
    refuse(path, climbing, "names that leave the source", "make it again")
    return index


class _NpzSet(ImageSet):
    """Rows of a .npz file. Reading forward decompresses each row once; a step back starts over."""

    def __init__(self, path: Path):
        self._path, self._member, self._process = path, None, None
        shape = self._open()
        super().__init__([f"{path.name}[{row}]" for row in range(shape[0])], shape[1:3])

    def __reduce__(self):  # an open file cannot be pickled
        return type(self), (self._path,)

    def _open(self) -> tuple[int, ...]:
        """Open 'images' at its first pixel, in this process; returns its shape."""
        path = self._path
        try:
            archive = zipfile.ZipFile(path)
            self._member = archive.open("images.npy")
            version = np.lib.format.read_magic(self._member)
            if version != (1, 0):
                raise ValueError(f"a header of version {version}")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(self._member)
        except KeyError:
            raise UserError(
                f"the image file {path} has no array 'images'; it must hold uint8 [N,H,W,3]."
            ) from None
        except (ValueError, *BROKEN) as error:
            raise UserError(
                f"the image file {path} cannot be read ({error}); make it again."
            ) from error
        if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or fortran:
            order = " in Fortran's order" if fortran else ""
            raise UserError(
                f"the image file {path} holds {dtype} {list(shape)}{order}; "
                "'images' must be uint8 [N,H,W,3]."
            )
        self._begin, self._process = self._member.tell(), os.getpid()
        return shape

    def _pixels(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        if self._process != os.getpid():  # forked processes share the position in a file
            self._open()
        shape = (*self.shape, 3)
        size = int(np.prod(shape))
        for number in numbers:
            try:
                self._member.seek(self._begin + int(number) * size)
                data = self._member.read(size)
            except BROKEN as error:
                raise self._damaged(error) from error
            if len(data) != size:
                raise self._damaged("it ends early")
            yield np.frombuffer(data, np.uint8).reshape(shape)

    def _damaged(self, why) -> UserError:
        return UserError(f"the image file {self._path} cannot be read ({why}); make it again.")
