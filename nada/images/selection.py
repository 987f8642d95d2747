"""Which images of a source are meant: its splits, a range of numbers, and their labels."""

from __future__ import annotations

import json
import math

from nada.images.containers import SUFFIXES, Source, first_few, refuse, with_slashes
from nada.images.files import Unusable
from nada.run.errors import UserError

LABELS = "dataset.json"  # StyleGAN2-ADA's dataset_tool.py writes it into a set's root


def selected(
    source: Source,
    resolution: int,
    splits: list[str] | None = None,
    start: int = 0,
    limit: int | None = None,
) -> tuple[list[str], dict | None, list[str]]:
    """(names of the images, {name: label} or None, names of other files).

    splits: take only images in these folders; a single top-level folder may be left out of their
    names. start, limit: of the sorted names, take `limit` from number `start` on. Raises UserError
    if no image is left, for names that are not UTF-8, and for labels that do not match the images.
    """
    names, others = source.members(resolution)
    wrong = [name for name in names if name.encode(errors="replace").decode() != name]
    refuse(source.path, wrong, "names that are not UTF-8", "rename them")  # an index is
    labels = _labels(source, names, others)
    if labels is not None:
        others = [name for name in others if name != LABELS]
    names = _of_split(source, names, splits)[start:][:limit]
    if not names:
        raise UserError(
            f"{source.path} has no images{f' from number {start} on' if start else ''}; "
            f"it needs {', '.join(SUFFIXES)} files, or the keys of an LMDB."
        )
    return names, labels, others


def _of_split(source: Source, names: list[str], splits: list[str] | None) -> list[str]:
    """The names in the splits' folders; raises UserError for a split without images."""
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
    """{name: label} from dataset.json, or None if it has no labels."""
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
    refuse(where, wrong, "labels that are not numbers", "correct them")
    there = set(names)
    absent = [str(name) for name in known if name not in there]
    refuse(where, absent, "names of missing images", "restore them, or correct it")
    refuse(where, [n for n in names if n not in known], "images without a label", "correct it")
    if len(known) != len(labels):
        raise UserError(f"{where} names {len(labels) - len(known)} images twice; correct it.")
    return known


def _is_label(label) -> bool:
    """A class number, or a vector of numbers, as dataset_tool.py's readers take them."""
    if isinstance(label, list):
        finite = (type(x) in (int, float) and -math.inf < x < math.inf for x in label)
        return bool(label) and all(finite)
    return type(label) is int and label >= 0
