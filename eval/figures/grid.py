"""The image grid of a group: one row per latent code, one column per variant, the source first (Fig. 14).

    python -m eval.figures.grid --spec SPEC.json --out PREFIX

writes PREFIX.svg, .pdf and .png, and PREFIX.csv with the run and the latent code of each cell.
"""

import argparse
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.analysis.names import method_name, start_name, task_name, variant_name
from eval.figures import sheet
from eval.figures.files import ENDINGS, save
from eval.observation import Observation, load_observation
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.base import REPLAY
from nada.run.spec.group_spec import GroupSpec, read_group_spec

#: Arrays of an observation that hold pictures.
PICTURES = ("gallery", "images", "source_gallery", "source_images")
#: Letters that fit above a cell.
TITLE_LETTERS = 15

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
    if meta["method"] == REPLAY:
        return f"{meta['shots']} images,\nreplayed"
    lines = [method_name(meta["method"]), variant_name(meta["variant"])]
    lines += [f"{meta['shots']}-shot" if meta["shots"] else "", start_name(meta["warm_start"])]
    return "\n".join(textwrap.fill(line, TITLE_LETTERS) for line in lines if line)


def blocks(table: list[Column]) -> list[sheet.Block]:
    """One block for each task, its columns wrapped; the source model comes first in each."""
    found = []
    for task in dict.fromkeys(column.task for column in table):
        source, *others = [column for column in table if column.task == task]
        most = sheet.fit_across(sheet.side_of(source.images)) - 1
        parts = max(1, -(-len(others) // most))
        width = -(-len(others) // parts) if others else 1  # parts of about one length
        for start in range(0, max(1, len(others)), width):
            shown = [source, *others[start : start + width]]
            rows = [
                (f"w {row}", np.stack([column.images[row] for column in shown]))
                for row in range(len(source.images))
            ]
            title = task_name(task) + (", continued" if start else "")
            found.append(sheet.Block(title, rows, [column.title for column in shown]))
    return found


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
    """Write PREFIX.svg, .pdf, .png and .csv."""
    table = columns(group)
    title = f"World {group.world}: {group.title} (truncation {group.grid.truncation_psi})"
    figure = sheet.draw(blocks(table), title)
    save(figure, records(table, group.grid.truncation_psi), prefix, sheet.DPI)
    print(f"{len(table)} columns, {group.grid.rows} latent codes")


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.figures.grid", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.spec])
    group = read_group_spec(arguments.spec)
    print(f"world {group.world}: grid of group {group.name}")
    grid(group, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
