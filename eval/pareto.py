"""Diversity against quality: the Pareto plot of Fig. 12 (Gal et al. 2021, §5.2).

    python -m eval.pareto --settings GROUP.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .png and .csv. Quality (x) is the share of comparisons that a model's images win
against those of the group's preferred model, latent by latent: the paper asks people, here an
automatic judge decides by realism (eval/realism.py), so a model equal to the preferred one stands at
0.5. Diversity (y) is cluster LPIPS. Whoever learnt its training images by heart is drawn hollow, and
is no part of the front: it would win every comparison.
"""

import sys

import numpy as np
import pandas as pd

from eval import figures
from eval.diversity import CLUSTER_LPIPS
from eval.memorisation import FLOOR, MEMORISED
from eval.palette import BOUNDS, styles
from eval.realism import PREFERENCE
from eval.score import LAST
from eval.settings import REAL, Group
from nada.errors import UserError, command

KEYS = ["task", "method", "variant", "shots"]
#: Metrics that a point is made of.
METRICS = (PREFERENCE.name, CLUSTER_LPIPS.name, MEMORISED.name)
#: A model that is compared with itself neither wins nor loses.
ITSELF = 0.5
SIZES = {0: 60, 5: 22, 10: 40, 100: 75}


def data(group: Group, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per task and setting: mean and half_width of quality and diversity, memorised, front.

    UserError: the group prefers no model, or its scores hold no comparison.
    """
    if group.against_model is None:
        raise UserError(f"group {group.name}: 'preference' names no model to compare with.")
    part = scores[(scores.world == group.world) & (scores.step == LAST) & (scores.method != REAL)]
    part = part[part.metric.isin(METRICS) & (part.warm_start == "source")]
    found = figures.over_seeds(part.astype({"value": float}), [*KEYS, "metric"])
    if not (found.metric == PREFERENCE.name).any():
        raise UserError(f"group {group.name}: no comparison was scored; make the scores again.")
    wide = found.pivot(index=KEYS, columns="metric", values=["mean", "half_width"])
    rows = []
    for key in found[KEYS].drop_duplicates().itertuples(index=False, name=None):
        values = wide.loc[key]
        ours = (key[1], key[2], key[3]) == group.against_model[:3]
        quality = ITSELF if ours else values.get(("mean", PREFERENCE.name), np.nan)
        rows.append(
            (
                *key, quality, values.get(("half_width", PREFERENCE.name), np.nan),
                values["mean", CLUSTER_LPIPS.name], values["half_width", CLUSTER_LPIPS.name],
                values.get(("mean", MEMORISED.name), np.nan),
            )
        )  # fmt: skip
    columns = ["quality", "quality_half_width", "diversity", "diversity_half_width", "memorised"]
    table = pd.DataFrame(rows, columns=[*KEYS, *columns])
    table["by_heart"] = table.memorised > FLOOR
    rivals = ~table.by_heart & ~table.method.isin(BOUNDS)
    table["front"] = False
    for _, of_task in table[rivals].groupby("task"):
        table.loc[of_task.index, "front"] = pareto_front(of_task.quality, of_task.diversity)
    return table


def pareto_front(x, y) -> np.ndarray:
    """Which points [N] no other one beats in both x and y (and truly in one); more is better."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    no_worse = (x[None] >= x[:, None]) & (y[None] >= y[:, None])
    better = (x[None] > x[:, None]) | (y[None] > y[:, None])
    return ~(no_worse & better).any(axis=1)


def label(row) -> str:
    """What stands beside a point."""
    if row.method == "nada":
        return "NADA" if row.variant == "adaptive" else f"NADA, {row.variant.replace('_', ' ')}"
    return f"{row.method} {row.shots}" if row.shots else row.method


def draw(group: Group, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table = data(group, scores)
    tasks = list(dict.fromkeys(table.task))
    figure, panels = figures.axes(1, len(tasks))
    figure.set_size_inches(7.2 * len(tasks), 5)
    looks = styles(zip(table.method, table.variant, strict=True))
    for axis, task in zip(panels[0], tasks, strict=True):
        part = table[table.task == task]
        front = part[part.front].sort_values("quality")
        axis.plot(front.quality, front.diversity, color="#BBBBBB", lw=1, zorder=1)
        for row in part.itertuples():
            if not np.isfinite(row.quality):
                continue
            colour = looks[row.method, row.variant]["color"]
            spread = {
                "xerr": _half(row.quality_half_width), "yerr": _half(row.diversity_half_width)
            }  # fmt: skip
            axis.errorbar(row.quality, row.diversity, **spread, color=colour, lw=0.8, zorder=2)
            face = "white" if row.by_heart else colour
            size = SIZES.get(row.shots, 40)
            axis.scatter(row.quality, row.diversity, s=size, color=face, edgecolor=colour, zorder=3)
            axis.annotate(
                label(row), (row.quality, row.diversity), xytext=(5, 4), fontsize=7,
                textcoords="offset points", color=colour,
            )  # fmt: skip
        axis.axvline(ITSELF, color="#DDDDDD", lw=0.8, zorder=0)
        axis.set(title=task, xlabel="quality: comparisons won (realism, automatic judge) →")
    panels[0][0].set_ylabel(f"diversity: {CLUSTER_LPIPS.label} →")
    note = f"hollow: more than {FLOOR:.0%} of its images memorised; grey line: Pareto front"
    figure.suptitle(f"World {group.world}: {group.title}\n{note}", fontsize=9)
    figures.save(figure, table, prefix)


def _half(value) -> float | None:
    return float(value) if value is not None and np.isfinite(float(value)) else None


@command
def main(argv=None):
    """Command line of this module."""
    figures.command_line(argv, "pareto", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
