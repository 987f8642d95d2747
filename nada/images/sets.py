"""Image sets as researchers have them: a folder, zip or LMDB, looked through once, read lazily.

python -m nada.images.sets --source afhq --split val/cat --resolution 512 --out val_cat.json

The scan decodes every image and writes an *index*: which images, in which order, what was done to
each (nada/images/files.py), and the SHA-256 of its pixels. `open_images` reads an index or a .npz file
row by row. Damaged images, images that are too small, decompression bombs, and what does not belong
into a source (nada/images/containers.py) are refused by name. Repeated images stay unless dropped by
wish, since published sets are fixed lists. The same files give the same bytes, with any number of
workers.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from pathlib import Path

import numpy as np

from nada.images.containers import (
    BROKEN,
    KINDS,
    LABELS,
    NAMED,
    climbs,
    first_few,
    listed,
    open_source,
    printable,
    refuse,
)
from nada.images.files import (
    DAMAGED,
    DONE,
    FILTERS,
    HUGE,
    OTHER_SIZE,
    SMALL,
    Policy,
    Unusable,
    to_pixels,
)
from nada.run.atomic import write_json
from nada.run.errors import UserError, command
from nada.run.outputs import check_output

FORMATS = "stylegan-nada image index"
FORMAT = f"{FORMATS} 1"
CHUNK = 16  # images that a process is given at a time
# What can be said of a set, in words; the keys of a report.
WORDS = {
    **DONE,
    "duplicates": "same pixels as an earlier image, kept",
    "dropped": "same pixels as an earlier image, left out",
    "damaged": "damaged, left out",
    "other_files": "not an image, passed over",
}


# ------------------------------------------------------------------------------------ the scan


def scan(
    source,
    *,
    resolution: int,
    split: str | list[str] | None = None,
    start: int = 0,
    limit: int | None = None,
    resize: str | None = "lanczos",
    enlarge: bool = False,
    skip_damaged: bool = False,
    drop_duplicates: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict, dict]:
    """Decode every image of a folder, .zip or LMDB: (index, report).

    split: folders within the source ('val', 'train/cat', or several), below its one common folder
    if it has one. start, limit: of the sorted names, pass over the first `start` and look at
    `limit` (FFHQ trains on the first 60,000 and validates on the rest). workers: processes that
    decode; progress(looked at, of how many) is called in between. The report counts what was done
    under the keys of WORDS, each {'count', 'first': names}, beside 'images' and 'looked_at'.
    Raises UserError where there are no images, or some cannot be used.
    """
    policy = Policy(resolution, resize, enlarge)
    for name, value, least in (("start", start, 0), ("limit", limit, 1), ("workers", workers, 1)):
        if value is not None and value < least:
            raise UserError(f"{name} {value}: must be {least} or more.")
    opened = open_source(Path(source))
    splits = [split] if isinstance(split, str) else split
    names, labels, others = listed(opened, resolution, splits, start, limit)
    looks = list(_looks(opened, names, policy, workers, progress))
    _refuse_unusable(source, looks, policy, skip_damaged)
    kept, left_out, repeated = _sift(looks, drop_duplicates)
    if not kept:
        raise UserError(f"{source}: all of its {len(looks)} images are damaged; get it again.")
    for image in kept if labels else []:
        image["label"] = labels[image["name"]]
    choices = {"skip_damaged": skip_damaged, "drop_duplicates": drop_duplicates}
    index = {
        "format": FORMAT,
        "source": Path(source).as_posix(),
        "kind": opened.kind,
        "split": splits,
        "start": start,
        "limit": limit,
        "resolution": resolution,
        "policy": {"resize": resize, "enlarge": enlarge, "alpha": "white", **choices},
        "images": kept,
        "left_out": left_out,
    }
    more = {
        "dropped" if drop_duplicates else "duplicates": repeated,
        "damaged": [f"{look['name']}: {look['why']}" for look in looks if "why" in look],
        "other_files": others,
    }
    return index, _report(kept, len(looks), more)


def write_index(path, index: dict) -> None:
    """Write an index; a relative source becomes relative to the index's folder, so that both move
    together, and an absolute one stays. Equal indices in equal places, equal bytes.

    Raises UserError for a name that does not end in .json, and where a file is there that is no
    index, such as a set's labels."""
    source = Path(index["source"])
    path = _index_path(path, source)
    if not source.is_absolute():
        source = Path(os.path.relpath(source.absolute(), path.parent.resolve()))
    write_json(path, {**index, "source": source.as_posix()})


def _index_path(path, source: Path) -> Path:
    """Where an index of `source` can be written; UserError for another name, a folder, or a file
    that is no index."""
    path = Path(path)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise UserError(f"the index {path}: its name must end in .json, and be no folder's.")
    if path.name == LABELS and path.parent.resolve() == source.resolve():
        raise UserError(f"the index {path}: there {LABELS} is the set's labels; name another file.")
    check_output(path, _is_index)
    return path


def _is_index(path: Path) -> bool:
    """Whether a file says that it is an index, of whatever version."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(index, dict) and str(index.get("format")).startswith(FORMATS)


def describe(report: dict) -> list[str]:
    """A report as lines for people: what, how many, the first names."""
    lines = []
    for key, words in WORDS.items():
        if count := report[key]["count"]:
            lines.append(f"{words}: {count} ({first_few(report[key]['first'], count)})")
    return lines


def _looks(source, names: list[str], policy: Policy, workers: int, progress) -> Iterator[dict]:
    """What was found in each image, in the order of the names, whoever decoded it."""
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    done = 0
    with _decoders(source, policy, min(workers, len(chunks))) as look_at:
        for looks in look_at(chunks):
            yield from looks
            done += len(looks)
            if progress:
                progress(done, len(names))


@contextlib.contextmanager
def _decoders(source, policy: Policy, workers: int):
    """A map of chunks of names to what was found in them, in this process or in several."""
    if workers == 1:
        yield lambda chunks: (_look(source, policy, names) for names in chunks)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),  # forking is unsafe beside threads
        initializer=_start_worker,
        initargs=(source, policy),
    )
    try:
        yield lambda chunks: pool.map(_look_in_worker, chunks)
    except BrokenProcessPool:
        raise UserError(
            f"a process that decoded {source.path} died, perhaps for want of memory; "
            "use fewer workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker: tuple = ()  # (source, policy) of a worker process


def _start_worker(source, policy: Policy) -> None:
    global _worker
    _worker = (source, policy)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent answers it


def _look_in_worker(names: list[str]) -> list[dict]:
    return _look(*_worker, names)


def _look(source, policy: Policy, names: list[str]) -> list[dict]:
    """An index's entry for each name, or {'name', 'kind', 'why'} where it cannot be used."""
    looks = []
    with source.reading() as read:
        for name in names:
            try:
                pixels, size, done = to_pixels(read(name), policy)
            except Unusable as error:
                looks.append({"name": name, "kind": error.kind, "why": str(error)})
                continue
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            looks.append({"name": name, "sha256": digest, "size": size, "done": done})
    return looks


def _refuse_unusable(source, looks: list[dict], policy: Policy, skip_damaged: bool) -> None:
    """One sentence for everything that keeps the set from being used."""
    resolution = policy.resolution
    kinds = {
        DAMAGED: ("damaged", "get them again, or leave them out with --skip-damaged"),
        HUGE: ("a decompression bomb", "remove them"),
        SMALL: (f"smaller than {resolution} px", "lower --resolution, or say --enlarge"),
        OTHER_SIZE: (f"not {resolution}x{resolution}", "choose a --resize, or that resolution"),
    }
    found, advice = [], []
    for kind, (words, what_to_do) in kinds.items():
        names = [f"{look['name']}: {look['why']}" for look in looks if look.get("kind") == kind]
        if names and not (kind == DAMAGED and skip_damaged):
            found.append(f"{len(names)} {words} ({first_few(names)})")
            advice.append(what_to_do)
    if found:
        raise UserError(
            f"{source}: of {len(looks)} images, {' and '.join(found)}; {'; '.join(advice)}."
        )


def _sift(looks: list[dict], drop_duplicates: bool) -> tuple[list, list, list[str]]:
    """(images that stay, what was left out and why, 'later = earlier' for equal pixels)."""
    kept, left_out, repeated, first = [], [], [], {}
    for look in looks:
        name = look["name"]
        if "why" in look:
            left_out.append({"name": name, "why": look["why"]})
            continue
        earlier = first.setdefault(look["sha256"], name)
        if earlier != name:
            repeated.append(f"{name} = {earlier}")
        if earlier != name and drop_duplicates:
            left_out.append({"name": name, "why": f"same pixels as {earlier}"})
        else:
            kept.append(look)
    return kept, left_out, repeated


def _report(kept: list[dict], looked_at: int, more: dict[str, list[str]]) -> dict:
    found = {key: [image["name"] for image in kept if key in image["done"]] for key in WORDS}
    found.update(more)
    counts = {
        key: {"count": len(names), "first": [printable(name) for name in names[:NAMED]]}
        for key, names in found.items()
    }
    return {"images": len(kept), "looked_at": looked_at, **counts}


# ---------------------------------------------------------------------------------- lazy reading


class ImageSet:
    """Images of one shape that are read when they are asked for; only those are ever held.

    names: one for each row; shape: (H, W). `s[rows]` takes a slice or a 1-D array of rows, as
    numpy does, and gives uint8 [n,H,W,3]. Reading raises UserError where the files have changed.
    Not for several threads at once; processes may share it.
    """

    def __init__(self, names: list[str], shape: tuple[int, int]):
        self.names, self.shape = names, shape

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows) -> np.ndarray:
        """uint8 [n,H,W,3]; IndexError for rows that are not there."""
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
        """Hex SHA-256 of the rows' pixels in their order, equal to that of `s[rows].tobytes()`."""
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

    verify: compare the SHA-256 of each image of an index when it is read; without it only its size
    is compared. Raises UserError for a missing or damaged file, and for other contents.
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
            raise self._changed(image, "other pixels, by the file or by another Pillow")
        return pixels

    def _changed(self, image: dict, why: str) -> UserError:
        return UserError(
            f"the image {image['name']} of {self._source.path} is not as the index {self._path} "
            f"says ({why}); restore it, or make the index again."
        )


def _read_index(path: Path) -> dict:
    """An index, checked as far as reading relies on it."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"the index {path} cannot be read ({error}); make it again.") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(
            f"{path} is no index of images ('format' must be '{FORMAT}'); make one with "
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
    """Rows of a .npz file; going forward decompresses each once, going back begins anew."""

    def __init__(self, path: Path):
        self._path, self._member, self._process = path, None, None
        shape = self._open()
        super().__init__([f"{path.name}[{row}]" for row in range(shape[0])], shape[1:3])

    def __reduce__(self):  # an open file does not travel to another process
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
        if self._process != os.getpid():  # forked processes share the place in a file
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


# ----------------------------------------------------------------------------------- the command


@command
def main(argv=None) -> None:
    arguments = _parser().parse_args(argv)
    options = vars(arguments).copy()
    source = options.pop("source")
    out = _index_path(options.pop("out"), source)  # not after a long look
    if options["resize"] == "none":
        options["resize"] = None
    size = f"{arguments.resolution}x{arguments.resolution}"
    print(f"looking through {source} for images of {size}", flush=True)
    index, report = scan(source, progress=_Progress(), **options)
    write_index(out, index)
    for line in describe(report):
        print(f"  {line}")
    print(f"{report['images']} of {report['looked_at']} images ({index['kind']}) -> {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nada.images.sets", description="Index images.")
    add = parser.add_argument
    add("--source", type=Path, required=True, help="a folder, a .zip or an LMDB")
    add("--resolution", type=int, required=True, help="side of the images, in pixels")
    add("--out", type=Path, required=True, help="the index to write, .json")
    add("--split", nargs="+", help="folders in it: val, or train/cat val/cat; default: all")
    add("--start", type=int, default=0, help="pass over so many images first; default: 0")
    add("--limit", type=int, help="look at so many; default: all")
    resize = {"choices": [*FILTERS, "none"], "default": "lanczos"}
    add("--resize", **resize, help="none: every image has the resolution; default: lanczos")
    add("--enlarge", action="store_true", help="enlarge smaller images; default: refuse them")
    add("--skip-damaged", action="store_true", help="leave damaged images out")
    add("--drop-duplicates", action="store_true", help="keep the first of equal images only")
    add("--workers", type=int, default=1, help="processes that decode; default: 1")
    return parser


class _Progress:
    """A line every few seconds, and none for what is quick."""

    EVERY = 5.0  # seconds

    def __init__(self):
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            print(f"  {done} of {total}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
