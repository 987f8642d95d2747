"""Samples of few-shot models on shared latent codes, each with the training image nearest to it.

Figs. 13, 25 and 26 of Gal et al. (2021). A column is one latent code: the source model's picture, the
adapted model's, and the training image that is nearest to the latter by LPIPS, mirrored where its mirror
image is nearer. The codes are the first ones of the seed and the same for all models of a task.

    python -m eval.figures.neighbours --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv from the observations and the training images; scores are not used.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import condition_title, task_name
from eval.figures import drawing, sheet
from eval.figures.figure import Figure
from eval.observation import load_observation
from nada.images.lazy import open_images
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, REPLAY
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("observations",), when="few_shot")

#: Latent codes shown.
SHOWN = 6
#: Arrays of an observation that are read.
ARRAYS = ("images", "source_images", "training_lpips", "training_rows")


def data(group: GroupSpec) -> tuple[pd.DataFrame, dict]:
    """(one row per sample, {(condition, latent): (source, sample, nearest)}) of models with training images.

    UserError: no member of the group trained on images.
    """
    rows, pictures = [], {}
    for row in group.rows:
        observation = load_observation(row.observation, ARRAYS)
        prefix = f"seed{observation.meta['runs'][0]['seed']}" if observation.meta["runs"] else ""
        replayed = row.method == REPLAY  # its images are the nearest themselves
        if replayed or f"{prefix}/training_lpips" not in observation.arrays:
            continue
        condition = row.condition
        trained = open_images(row.training_images)[observation[f"{prefix}/training_rows"]]
        distances = observation[f"{prefix}/training_lpips"][:SHOWN]
        nearest = distances.argmin(axis=1)
        for latent, index in enumerate(nearest):
            number, mirrored = index % len(trained), bool(index >= len(trained))
            image = trained[number]
            pictures[condition, latent] = (
                observation[f"{prefix}/source_images"][latent], observation[f"{prefix}/images"][latent],
                image[:, ::-1] if mirrored else image,
            )  # fmt: skip
            file_row = int(observation[f"{prefix}/training_rows"][number])
            rows.append((*condition, latent, file_row, mirrored, float(distances[latent, index])))
    if not rows:
        raise UserError(f"group {group.name}: none of its models trained on images.")
    return pd.DataFrame(
        rows, columns=[*CONDITION_KEYS, "latent", "reference", "mirrored", "lpips"]
    ), pictures


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table, pictures = data(group)
    blocks = []
    for condition in dict.fromkeys(condition for condition, _ in pictures):
        of_model = [found for (owner, _), found in pictures.items() if owner == condition]
        images = [np.stack([np.asarray(found[kind]) for found in of_model]) for kind in range(3)]
        title = f"{task_name(condition[0])}: {condition_title(*condition[1:])}"
        blocks.append(sheet.Block(title, list(zip(("source", "adapted", "nearest"), images, strict=True))))
    across = max(1, sheet.fit_across(sheet.side_of(blocks[0].rows[1][1])) // (SHOWN + 1))
    figure = sheet.draw(blocks, f"{group.heading}: nearest training images by LPIPS", min(across, len(blocks)))
    drawing.save(figure, table, prefix, sheet.DPI)


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "neighbours", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
