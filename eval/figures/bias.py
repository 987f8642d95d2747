"""What an adaptation does to each factor of the pictures: pose and colours (Gal et al. 2021, App. C, Fig. 16).

A point is the mean shift of one factor over shared latent codes, adapted minus source model, in standard
deviations of the source model's pictures; the judge estimates the factors. At 0 the factor is distributed as
before. A text should shift no factor that it does not name; a few target images shift the factors that these
images share. Mean over seeds, with the 95 % t interval for two seeds or more.

    python -m eval.figures.bias --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv from the observations; scores are not used.
"""

import sys

import numpy as np
import pandas as pd

from eval.figures import drawing
from eval.figures.facets import of_task
from eval.figures.figure import Figure
from eval.figures.palette import styles
from eval.metrics.correspondence import factor_shifts
from eval.observation import load_observation
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, SOURCE
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("observations",))

KEYS = [*CONDITION_KEYS, "factor"]
#: Height of a factor's row, in inches.
ROW = 0.36
#: Space between the models of one factor, as a share of its row.
SPREAD = 0.4


def data(group: GroupSpec) -> pd.DataFrame:
    """One row per condition and factor: mean shift over seeds, half_width, n (seeds), images.

    UserError: no observation of the group has factors, which a judge estimates.
    """
    rows = []
    for row in group.rows:
        observation = load_observation(row.observation, ("factors", "source_factors", "source_lpips"))
        for run in observation.meta["runs"]:
            at = f"seed{run['seed']}"
            if row.method == SOURCE or not {f"{at}/factors", f"{at}/source_lpips"} <= set(observation.arrays):
                continue  # no judge, or images that correspond to none of the source model
            frozen = observation[f"{at}/source_factors"]
            shifts = factor_shifts(frozen, observation[f"{at}/factors"][: len(frozen)])
            rows += [
                (*row.condition, name, run["seed"], float(shift), len(frozen))
                for name, shift in zip(observation.meta["factor_names"], shifts, strict=True)
                if np.isfinite(shift)
            ]
    if not rows:
        raise UserError(f"group {group.name}: no judge estimated the factors of its pictures.")
    return drawing.over_seeds(pd.DataFrame(rows, columns=[*KEYS, "seed", "value", "n"]), KEYS)


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table = data(group)
    drawing.save(picture(group, table), table, prefix)


def picture(group: GroupSpec, table: pd.DataFrame):
    """The figure: for each task a row, for each facet a panel."""
    blocks = [(task, facet) for task in dict.fromkeys(table.task) for facet in of_task(group, table, task)]
    factors = list(dict.fromkeys(table.factor))
    figure, panels = drawing.axes(len(blocks), 1, sharex=True)
    figure.set_size_inches(drawing.LEAST_WIDTH + 2.5, (ROW * len(factors) + 0.8) * len(blocks) + 0.5)
    looks = styles(zip(table.method, table.variant, strict=True))
    for axis, (task, facet) in zip(panels[:, 0], blocks, strict=True):
        lines = {}
        places = np.linspace(-SPREAD / 2, SPREAD / 2, len(facet.models)) if len(facet.models) > 1 else [0.0]
        for place, (model, name) in zip(places, facet.models.items(), strict=True):
            part = table[(table.task == task)]
            part = part[[m == model for m in part[list(CONDITION_KEYS[1:])].itertuples(False, None)]]
            heights = [factors.index(factor) + place for factor in part.factor]
            half = part.half_width.astype(float).fillna(0)
            look = {**looks[model[:2]], "linestyle": "none"}
            lines[name] = axis.errorbar(part["mean"], heights, xerr=half, **look, ms=5, lw=1, capsize=2)
        axis.axvline(0, color="#555555", lw=0.8, zorder=0)
        axis.set_yticks(range(len(factors)), [factor.replace("_", " ") for factor in factors])
        axis.set_ylim(len(factors) - 0.5, -0.5)
        number = f"n = {drawing.count(table.images, 'image')}, {drawing.seeds(table.n)}"
        axis.set(xlabel=f"shift of the mean, in σ of the source model ({number})")
        drawing.side_title(axis, drawing.task_title(task, facet.title))
        drawing.beside(axis, lines)
    drawing.title(figure, group.heading)
    return figure


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "bias", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
