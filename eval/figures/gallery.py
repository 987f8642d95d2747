"""Galleries of adapted models (Gal et al. 2021, Figs. 5-7 and 20-24), truncated, never picked by hand.

The pictures are those of the first latent codes of the first seed, in order, the same for all models of one
task; truncation is 0.7. One block for each model; the first shows the source model on the same codes.

    python -m eval.figures.gallery --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv from the observations; scores are not used.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import condition_title, task_name
from eval.figures import drawing, sheet
from eval.figures.figure import Figure
from eval.observation import GALLERY_PSI, load_observation
from nada.run.errors import command
from nada.run.spec.base import CONDITION_KEYS, SOURCE
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("observations",))

#: Rows and columns of pictures of one model.
ROWS, COLUMNS = 2, 6


def data(group: GroupSpec) -> tuple[pd.DataFrame, dict[tuple, np.ndarray]]:
    """(one row per picture, {condition: pictures uint8 [N,H,W,3]}); the source model first of each task."""
    rows, pictures = [], {}
    for row in group.rows:
        observation = load_observation(row.observation, ("gallery", "source_gallery"))
        run = observation.meta["runs"][0]
        source = (row.task, SOURCE, "unchanged", 0, "source")
        kinds = {source: "source_gallery"} if row.method != SOURCE else {}
        for condition, kind in {**kinds, row.condition: "gallery"}.items():
            if condition in pictures:
                continue
            pictures[condition] = observation[f"seed{run['seed']}/{kind}"][: ROWS * COLUMNS]
            identity = run["id"] if kind == "gallery" else SOURCE
            rows += [
                (*condition, identity, run["seed"], run["latent_seed"], code, GALLERY_PSI)
                for code in range(len(pictures[condition]))
            ]
    columns = [*CONDITION_KEYS, "run", "seed", "latent_seed", "latent", "truncation_psi"]
    return pd.DataFrame(rows, columns=columns), pictures


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its list of pictures."""
    table, pictures = data(group)
    blocks = []
    for task in group.tasks:
        for condition, images in pictures.items():
            if condition[0] == task:
                parts = [images[start : start + COLUMNS] for start in range(0, len(images), COLUMNS)]
                title = f"{task_name(task)}: {condition_title(*condition[1:])}"
                blocks.append(sheet.Block(title, [("", part) for part in parts]))
    across = max(1, sheet.fit_across(sheet.side_of(blocks[0].rows[0][1])) // COLUMNS)
    seed = table.seed.iloc[0]
    title = f"World {group.world}: {group.title} (truncation {GALLERY_PSI:g}, seed {seed}, first codes in order)"
    drawing.save(sheet.draw(blocks, title, min(across, len(blocks))), table, prefix, sheet.DPI)


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "gallery", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
