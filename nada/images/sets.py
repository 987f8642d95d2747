"""Index an image set: decode every image of a folder, zip or LMDB once.

python -m nada.images.sets --source afhq --split val/cat --resolution 512 --out val_cat.json

The scan writes an *index*: which images, in which order, what was done to each
(nada/images/files.py), and the SHA-256 of its pixels. nada/images/lazy.py reads it. Damaged images,
images that are too small, decompression bombs and unsafe sources (nada/images/containers.py) are
refused by name. Duplicates stay unless `--drop-duplicates` is given, because published sets are
fixed lists. The same files give the same index, with any number of workers.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from pathlib import Path

from nada.images.containers import NAMED, first_few, open_source, printable
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
from nada.images.lazy import FORMAT, FORMATS
from nada.images.selection import LABELS, selected
from nada.run.atomic import write_json
from nada.run.errors import UserError, command
from nada.run.outputs import check_output

CHUNK = 16  # images that a worker process decodes at a time
# The keys of a report and their wording.
WORDS = {
    **DONE,
    "duplicates": "same pixels as an earlier image, kept",
    "dropped": "same pixels as an earlier image, left out",
    "damaged": "damaged, left out",
    "other_files": "not an image, skipped",
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

    split: folders within the source ('val', 'train/cat', or several); a single top-level folder
    may be left out. start, limit: of the sorted names, skip the first `start` and take `limit`
    (FFHQ trains on the first 60,000 and validates on the rest). workers: number of processes that
    decode; progress(scanned, total) is called in between. The report has the numbers 'images' (in
    the index) and 'scanned', and for each key of WORDS {'count', 'first': names}.
    Raises UserError if there are no images, or some cannot be used.
    """
    policy = Policy(resolution, resize, enlarge)
    for name, value, least in (("start", start, 0), ("limit", limit, 1), ("workers", workers, 1)):
        if value is not None and value < least:
            raise UserError(f"{name} {value}: must be {least} or more.")
    opened = open_source(Path(source))
    splits = [split] if isinstance(split, str) else split
    names, labels, others = selected(opened, resolution, splits, start, limit)
    found = list(_decode_all(opened, names, policy, workers, progress))
    _refuse_unusable(source, found, policy, skip_damaged)
    kept, left_out, repeated = _sift(found, drop_duplicates)
    if not kept:
        raise UserError(f"{source}: all {len(found)} images are damaged; get it again.")
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
        "damaged": [f"{image['name']}: {image['why']}" for image in found if "why" in image],
        "other_files": others,
    }
    return index, _report(kept, len(found), more)


def write_index(path, index: dict) -> None:
    """Write an index. A relative source is stored relative to the index's folder, so that both can
    be moved together; an absolute source stays absolute.

    Raises UserError for a name that does not end in .json, and for an existing file that is not an
    index, such as a set's labels.
    """
    source = Path(index["source"])
    path = _index_path(path, source)
    if not source.is_absolute():
        source = Path(os.path.relpath(source.absolute(), path.parent.resolve()))
    write_json(path, {**index, "source": source.as_posix()})


def _index_path(path, source: Path) -> Path:
    """The path as a Path; UserError unless an index of `source` can be written there."""
    path = Path(path)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise UserError(f"the index {path}: give the name of a file that ends in .json.")
    if path.name == LABELS and path.parent.resolve() == source.resolve():
        raise UserError(f"the index {path}: {LABELS} in this folder holds the set's labels; name another file.")
    check_output(path, _is_index)
    return path


def _is_index(path: Path) -> bool:
    """Whether a file is an index, of any version."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(index, dict) and str(index.get("format")).startswith(FORMATS)


def describe(report: dict) -> list[str]:
    """A report as lines of text: what was done, how often, the first names."""
    lines = []
    for key, words in WORDS.items():
        if count := report[key]["count"]:
            lines.append(f"{words}: {count} ({first_few(report[key]['first'], count)})")
    return lines


def _decode_all(source, names: list[str], policy: Policy, workers: int, progress) -> Iterator[dict]:
    """The entries of `_decode` for all names in their order, by one or several processes."""
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    done = 0
    with _decoders(source, policy, min(workers, len(chunks))) as decode:
        for entries in decode(chunks):
            yield from entries
            done += len(entries)
            if progress:
                progress(done, len(names))


@contextlib.contextmanager
def _decoders(source, policy: Policy, workers: int):
    """A function that maps chunks of names to their entries, in this process or in several."""
    if workers == 1:
        yield lambda chunks: (_decode(source, policy, names) for names in chunks)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),  # forking is unsafe with threads
        initializer=_start_worker,
        initargs=(source, policy),
    )
    try:
        yield lambda chunks: pool.map(_decode_in_worker, chunks)
    except BrokenProcessPool:
        raise UserError(
            f"a process that decoded {source.path} died, perhaps because memory ran out; "
            "use fewer --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker: tuple = ()  # (source, policy) of a worker process


def _start_worker(source, policy: Policy) -> None:
    global _worker
    _worker = (source, policy)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C


def _decode_in_worker(names: list[str]) -> list[dict]:
    return _decode(*_worker, names)


def _decode(source, policy: Policy, names: list[str]) -> list[dict]:
    """For each name its entry of the index, or {'name', 'kind', 'why'} if it cannot be used."""
    entries = []
    with source.reading() as read:
        for name in names:
            try:
                pixels, size, done = to_pixels(read(name), policy)
            except Unusable as error:
                entries.append({"name": name, "kind": error.kind, "why": str(error)})
                continue
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            entries.append({"name": name, "sha256": digest, "size": size, "done": done})
    return entries


def _refuse_unusable(source, found: list[dict], policy: Policy, skip_damaged: bool) -> None:
    """Raise one UserError that names every problem of the set."""
    resolution = policy.resolution
    kinds = {
        DAMAGED: ("damaged", "get them again, or leave them out with --skip-damaged"),
        HUGE: ("a decompression bomb", "remove them"),
        SMALL: (f"smaller than {resolution} px", "lower --resolution, or use --enlarge"),
        OTHER_SIZE: (f"not {resolution}x{resolution}", "choose a --resize, or that resolution"),
    }
    problems, advice = [], []
    for kind, (words, what_to_do) in kinds.items():
        names = [f"{image['name']}: {image['why']}" for image in found if image.get("kind") == kind]
        if names and not (kind == DAMAGED and skip_damaged):
            problems.append(f"{len(names)} {words} ({first_few(names)})")
            advice.append(what_to_do)
    if problems:
        raise UserError(
            f"{source}: of {len(found)} images, {' and '.join(problems)}; {'; '.join(advice)}."
        )


def _sift(found: list[dict], drop_duplicates: bool) -> tuple[list, list, list[str]]:
    """(entries of the index, those left out and why, 'later = earlier' for equal pixels)."""
    kept, left_out, repeated, first = [], [], [], {}
    for image in found:
        name = image["name"]
        if "why" in image:
            left_out.append({"name": name, "why": image["why"]})
            continue
        earlier = first.setdefault(image["sha256"], name)
        if earlier != name:
            repeated.append(f"{name} = {earlier}")
        if earlier != name and drop_duplicates:
            left_out.append({"name": name, "why": f"same pixels as {earlier}"})
        else:
            kept.append(image)
    return kept, left_out, repeated


def _report(kept: list[dict], scanned: int, more: dict[str, list[str]]) -> dict:
    found = {key: [image["name"] for image in kept if key in image["done"]] for key in WORDS}
    found.update(more)
    counts = {
        key: {"count": len(names), "first": [printable(name) for name in names[:NAMED]]}
        for key, names in found.items()
    }
    return {"images": len(kept), "scanned": scanned, **counts}


# ----------------------------------------------------------------------------------- the command


@command
def main(argv=None) -> None:
    arguments = _parser().parse_args(argv)
    options = vars(arguments).copy()
    source = options.pop("source")
    out = _index_path(options.pop("out"), source)  # before the long scan
    if options["resize"] == "none":
        options["resize"] = None
    size = f"{arguments.resolution}x{arguments.resolution}"
    print(f"scanning {source} for images of {size}", flush=True)
    index, report = scan(source, progress=_Progress(), **options)
    write_index(out, index)
    for line in describe(report):
        print(f"  {line}")
    print(f"{report['images']} of {report['scanned']} images ({index['kind']}) -> {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nada.images.sets", description="Index the images of a folder, zip or LMDB.")
    add = parser.add_argument
    add("--source", type=Path, required=True, help="a folder, a .zip or an LMDB")
    add("--resolution", type=int, required=True, help="side of the images, in pixels")
    add("--out", type=Path, required=True, help="the index to write, .json")
    add("--split", nargs="+", help="folders within the source, e.g. train/cat val/cat; default: all")
    add("--start", type=int, default=0, help="number of images to skip first; default: 0")
    add("--limit", type=int, help="number of images to take; default: all")
    resize = {"choices": [*FILTERS, "none"], "default": "lanczos"}
    add("--resize", **resize, help="filter; none: every image must have the resolution; default: lanczos")
    add("--enlarge", action="store_true", help="enlarge smaller images; default: refuse them")
    add("--skip-damaged", action="store_true", help="leave damaged images out")
    add("--drop-duplicates", action="store_true", help="keep the first of equal images only")
    add("--workers", type=int, default=1, help="number of processes that decode; default: 1")
    return parser


class _Progress:
    """Prints a line every few seconds; a quick scan prints none."""

    EVERY = 5.0  # seconds

    def __init__(self):
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            print(f"  {done} of {total}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
