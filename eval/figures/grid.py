"""The image grid of a group: one row per latent code, one column per variant, the source first (Fig. 14).

    python -m eval.figures.grid --spec SPEC.json --out PREFIX

writes PREFIX.png, and PREFIX.csv with the run and the latent code of each cell.
"""

import argparse
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.analysis.names import method_name, start_name, variant_name
from eval.observation import Observation, load_observation
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.group_spec import GroupSpec, read_group_spec

#: Arrays of an observation that hold pictures.
PICTURES = ("gallery", "images", "source_gallery", "source_images")
#: Smallest side of a cell in pixels; smaller images are enlarged by a whole factor.
CELL_PIXELS = 96
#: Largest side of a cell in pixels; larger images are reduced to it.
MOST_CELL_PIXELS = 192
#: Letters that fit above a cell.
TITLE_LETTERS = 15
#: Gap between cells, and between the columns of two tasks, in pixels.
GAP, TASK_GAP = 4, 24
#: Pixels per inch; sizes of text are in points.
DPI = 100


@dataclass(frozen=True)
class Column:
    """One column: title, task, id of the run, and images uint8 [rows,H,W,3] of the shared latent codes."""

    title: str
    task: str
    run: str
    images: np.ndarray


def _pictures(observation: Observation, seed: int, psi: float, source: bool) -> np.ndarray:
    """The images of a seed at a truncation. UserError: the observation has none at this truncation."""
    kept = {
        float(observation.meta["gallery_psi"]): "gallery",
        float(observation.meta["counts"]["truncation_psi"]): "images",
    }
    if psi not in kept:
        have = ", ".join(map(str, sorted(kept)))
        raise UserError(
            f"{observation.path}: no images at truncation_psi {psi}; choose one of {have}."
        )
    return observation[f"seed{seed}/{'source_' if source else ''}{kept[psi]}"]


def columns(group: GroupSpec) -> list[Column]:
    """The grid's columns: per task the source, then each observation's first seed, in order.

    UserError: fewer images than rows, or a column with other latent codes.
    """
    observations = [load_observation(row.observation, PICTURES) for row in group.rows]
    found: list[Column] = []
    for task in dict.fromkeys(o.meta["task"] for o in observations):
        of_task = [o for o in observations if o.meta["task"] == task]
        first = of_task[0].meta["runs"][0]
        source = _pictures(of_task[0], first["seed"], group.grid.truncation_psi, source=True)
        found.append(Column("source", task, "source", source))
        for observation in of_task:
            if observation.meta["method"] == "source":
                continue  # it is the first column already
            run = observation.meta["runs"][0]
            if run["latent_seed"] != first["latent_seed"]:
                raise UserError(f"{observation.path}: its first seed has other latent codes.")
            images = _pictures(observation, run["seed"], group.grid.truncation_psi, source=False)
            found.append(Column(_title(observation.meta), task, run["id"], images))
    for column in found:
        if len(column.images) < group.grid.rows:
            raise UserError(
                f"grid.rows is {group.grid.rows}, but {column.run} kept {len(column.images)} images;"
                f" set grid.rows to 1..{len(column.images)}."
            )
    rows = group.grid.rows
    return [Column(c.title, c.task, c.run, c.images[:rows]) for c in found]


def _title(meta: dict) -> str:
    lines = [method_name(meta["method"]), variant_name(meta["variant"])]
    lines += [f"{meta['shots']}-shot" if meta["shots"] else "", start_name(meta["warm_start"])]
    return "\n".join(textwrap.fill(line, TITLE_LETTERS) for line in lines if line)


def fitted(images: np.ndarray, size: int = CELL_PIXELS, most: int = MOST_CELL_PIXELS) -> np.ndarray:
    """uint8 [N,H,W,3] enlarged to `size` pixels or more by the smallest whole factor (nearest pixel).

    Images larger than `most` pixels are reduced to `most` (Lanczos).
    """
    if images.shape[1] > most:
        from PIL import Image

        pictures = [
            Image.fromarray(i).resize((most, most), Image.Resampling.LANCZOS) for i in images
        ]
        return np.stack([np.asarray(picture) for picture in pictures])
    factor = max(1, -(-size // images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def layout(table: list[Column]) -> tuple[np.ndarray, list[int], int]:
    """(canvas uint8 [H,W,3] with the cells on white, left edge of each column, side of a cell)."""
    cells = [fitted(column.images) for column in table]
    side = max(cell.shape[1] for cell in cells)
    lefts, x = [], 0
    for index, column in enumerate(table):
        if index:
            x += GAP if column.task == table[index - 1].task else TASK_GAP
        lefts.append(x)
        x += side
    rows = len(table[0].images)
    canvas = np.full((rows * (side + GAP) - GAP, x, 3), 255, dtype=np.uint8)
    for left, cell in zip(lefts, cells, strict=True):
        for row, image in enumerate(cell):
            top = row * (side + GAP)
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas, lefts, side


def draw(table: list[Column], title: str, path) -> None:
    """Write the grid as PNG, with title, tasks, titles of columns, and the latent code of each row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    canvas, lefts, side = layout(table)
    height, width = canvas.shape[:2]
    lines = max(column.title.count("\n") + 1 for column in table)
    left, top, margin = 48, 60 + 16 * lines, 12
    whole = (max(width, 8 * len(title)) + left + margin, height + top + margin)
    figure = plt.figure(figsize=(whole[0] / DPI, whole[1] / DPI), dpi=DPI)
    figure.figimage(canvas, xo=left, yo=margin, origin="upper", resize=False)

    def text(x, y, string, size, **style):
        figure.text(x / whole[0], 1 - y / whole[1], string, fontsize=size, **style)

    text(left, 8, title, 10, va="top", weight="bold")
    for index, (column, x) in enumerate(zip(table, lefts, strict=True)):
        if index == 0 or column.task != table[index - 1].task:
            text(left + x, 32, column.task, 10, va="top", style="italic")
        text(left + x + side / 2, top - 6, column.title, 8, va="bottom", ha="center")
    for row in range(len(table[0].images)):
        y = top + row * (side + GAP) + side / 2
        text(left - 8, y, f"w {row}", 8, va="center", ha="right")
    figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})
    plt.close(figure)


def records(table: list[Column], psi: float) -> pd.DataFrame:
    """One row per cell: row, column, task, title, run, latent (index of the shared codes), truncation_psi."""
    return pd.DataFrame(
        [
            {"row": row, "column": index, "task": column.task, "title": column.title.replace("\n", " "),
             "run": column.run, "latent": row, "truncation_psi": psi}
            for index, column in enumerate(table)
            for row in range(len(column.images))
        ]
    )  # fmt: skip


def grid(group: GroupSpec, prefix: str) -> None:
    """Write PREFIX.png and PREFIX.csv."""
    table = columns(group)
    title = f"World {group.world}: {group.title} (truncation {group.grid.truncation_psi})"
    with atomic_path(prefix + ".png") as temporary:
        draw(table, title, temporary)
    with atomic_path(prefix + ".csv") as temporary:
        records(table, group.grid.truncation_psi).to_csv(temporary, index=False, lineterminator="\n")
    print(f"wrote {prefix}.png and {prefix}.csv: {len(table)} columns, {group.grid.rows} latents")


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.figures.grid", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, (".png", ".csv"), [arguments.spec])
    group = read_group_spec(arguments.spec)
    print(f"world {group.world}: grid of group {group.name}")
    grid(group, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
