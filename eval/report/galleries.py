"""Pictures of the page: one strip for each condition and seed shown, and the grids that show them.

A strip holds the pictures of several latent codes side by side. It is written once, as a style, and shown as
often as needed. Small pictures are kept as they are, larger ones are reduced.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from eval.figures import grid
from eval.observation import load_observation
from eval.report.contents import Contents, name_of, real_condition
from nada.run.run_id import condition_name
from nada.run.spec.group_spec import GroupSpec

#: Largest side of a picture in pixels, and the side up to which pictures are kept without loss.
MOST_PIXELS, EXACT_PIXELS = 160, 64
QUALITY = 82  # of a JPEG
#: Real images shown of a task.
REAL_SHOWN = 8


@dataclass(frozen=True)
class Strip:
    """Pictures side by side as a data URI. number: of its style. count: of pictures."""

    number: int
    uri: str
    count: int
    side: int


@dataclass(frozen=True)
class Picture:
    """One picture: its place in a strip, and what it is."""

    strip: Strip
    place: int
    title: str


@dataclass(frozen=True)
class Grid:
    """A group's pictures. heads: (task, name of the model). rows: (latent code, pictures)."""

    key: str
    title: str
    heads: list[tuple[str, str]]
    rows: list[tuple[int, list[Picture]]]
    truncation: float
    files: str


class Strips:
    """Every strip of the page by its key (condition or task, truncation, kind)."""

    def __init__(self):
        self.found: dict[tuple, Strip] = {}

    def add(self, key: tuple, images: np.ndarray) -> Strip:
        """The strip of images uint8 [N,H,W,3]; made once, or again if more images are asked for."""
        old = self.found.get(key)
        if old is None or old.count < len(images):
            number = len(self.found) if old is None else old.number
            self.found[key] = Strip(number, data_uri(images), len(images), min(images.shape[1], MOST_PIXELS))
        return self.found[key]


def data_uri(images: np.ndarray) -> str:
    """The images side by side as a PNG, or as a JPEG if they are large."""
    side = images.shape[1]
    strip = Image.fromarray(np.concatenate(list(images), axis=1))
    if side > MOST_PIXELS:
        size = (MOST_PIXELS * len(images), MOST_PIXELS)
        strip = strip.resize(size, Image.Resampling.LANCZOS)
    stream, exact = io.BytesIO(), side <= EXACT_PIXELS
    strip.save(stream, "PNG", optimize=True) if exact else strip.save(stream, "JPEG", quality=QUALITY)
    kind = "png" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def grids(contents: Contents, strips: Strips) -> dict[str, Grid]:
    """group → its grid, as `eval.figures.grid` selects the pictures."""
    columns = {group.name: grid.columns(group) for group in contents.groups}
    for group in contents.groups:  # first all strips, since a later group may show more codes
        for column in columns[group.name]:
            strips.add(strip_key(column, group), column.images)
    names = {run_folder(row.condition): name_of(row.condition) for row in contents.rows.values()}
    return {group.name: _grid(group, columns[group.name], strips, names) for group in contents.groups}


def run_folder(condition: tuple) -> str:
    """What the ids of a condition's runs begin with."""
    return f"{condition[0]}/{condition_name(*condition[1:])}"


def strip_key(column: grid.Column, group: GroupSpec) -> tuple:
    """The key of a column's strip: the run (the source by its task), and the truncation."""
    run = column.run if column.run != "source" else f"{column.task}/source"
    return run, group.grid.truncation_psi


def _grid(group: GroupSpec, columns: list[grid.Column], strips: Strips, names: dict[str, str]) -> Grid:
    psi, heads, shown = group.grid.truncation_psi, [], []
    for column in columns:
        name = names.get(column.run.rpartition("/")[0], "source model")
        heads.append((column.task, name))
        seed = "" if column.run == "source" else f", {column.run.rpartition('/')[2].replace('seed', 'seed ')}"
        strip = strips.found[strip_key(column, group)]
        shown.append([
            Picture(strip, row, f"{name}, {column.task}{seed}, latent code {row}, truncation {psi:g}")
            for row in range(len(column.images))
        ])  # fmt: skip
    rows = [(row, [column[row] for column in shown]) for row in range(len(shown[0]))]
    return Grid(group.name, group.title, heads, rows, psi, f"figures/{group.name}_grid")


def real_pictures(contents: Contents, strips: Strips) -> dict[str, list[Picture]]:
    """task → some of its reference images."""
    found = {}
    for group in contents.groups:
        for task, path in group.real.items():
            if task not in found:
                images = load_observation(path, only=("images",))["half0/images"][:REAL_SHOWN]
                strip = strips.add((real_condition(task), 1.0), images)
                name = f"{name_of(real_condition(task))}, {task}, image "
                found[task] = [Picture(strip, place, f"{name}{place}") for place in range(len(images))]
    return found
