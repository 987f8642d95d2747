"""Samples of few-shot models, each above the training image nearest to it (Gal et al. 2021, Figs. 13, 26).

Distance is LPIPS; a training image is shown mirrored where its mirror image is nearer. Two rows per model.

    python -m eval.figures.neighbours --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.png, .svg and .csv from the observations and the training images; scores are not used.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import condition_title
from eval.figures import drawing
from eval.figures.figure import Figure
from eval.observation import load_observation
from nada.images.lazy import open_images
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, REPLAY
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("observations",), when="few_shot")

#: Latent codes shown.
SHOWN = 10
#: Side of one image in inches.
SIDE = 0.62


def data(group: GroupSpec) -> tuple[pd.DataFrame, dict]:
    """(one row per sample, {(condition, latent): (sample, nearest)}) of models with training images.

    UserError: no member of the group trained on images.
    """
    rows, pictures = [], {}
    for row in group.rows:
        observation = load_observation(row.observation)
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
                observation[f"{prefix}/images"][latent], image[:, ::-1] if mirrored else image
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
    conditions = list(dict.fromkeys(condition for condition, _ in pictures))
    shown = 1 + max(latent for _, latent in pictures)
    figure, panels = drawing.axes(2 * len(conditions), shown)
    figure.set_size_inches(1.9 + SIDE * shown, SIDE * 2 * len(conditions) + 0.6)
    for axis in panels.flat:
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    for place, condition in enumerate(conditions):
        for latent in range(shown):
            for half, image in enumerate(pictures[condition, latent]):
                panels[2 * place + half][latent].imshow(np.asarray(image), interpolation="nearest")
        task, method, variant, shots, start = condition
        name = condition_title(method, variant, shots, start)
        for half, text in enumerate((f"{task}\n{name}", "nearest")):
            panels[2 * place + half][0].set_ylabel(
                text, rotation=0, ha="right", va="center", fontsize=6
            )
    drawing.title(figure, f"{group.heading}, nearest training images")
    drawing.save(figure, table, prefix)


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "neighbours", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
