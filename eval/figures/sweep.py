"""Metrics against k, the number of convolutions that adaptive selection trains at a step (§4.2).

One row of panels per task, one panel per metric of the group's `sweep`. The last point trains all
convolutions without selection. Mean over seeds, with the 95 % t interval for two seeds or more. Conditions
with other shots or warm starts have lines of their own. Dashed lines are bounds: the source model, and one
half of the real images against the other.

    python -m eval.figures.sweep --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv.
"""

import sys

import pandas as pd

from eval.analysis.names import condition_title
from eval.figures import drawing
from eval.figures.figure import Figure
from eval.figures.palette import COLOURS, line, styles
from eval.metrics.catalogue import metric
from eval.score import LAST
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, REAL
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(when="sweep")

KEYS = ["task", "k", *CONDITION_KEYS[1:], "metric"]
#: Controls drawn as horizontal lines.
BOUNDS = ("source", REAL)


def data(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """Everything that is drawn: KEYS (k 0: a bound), mean over seeds, half_width, n.

    UserError: fewer than two values of k in the group, or a condition without scores.
    """
    layers = {row.condition: row.layers for row in group.rows if row.layers}
    if len(set(layers.values())) < 2:
        raise UserError(f"group {group.name}: a sweep needs variants with two or more values of k.")
    part = scores[(scores.world == group.world) & (scores.step == LAST)]
    part = part[part.metric.isin(group.sweep) & part.task.isin(group.real)].copy()
    conditions = list(part[list(CONDITION_KEYS)].itertuples(index=False, name=None))
    missing = next((condition for condition in layers if condition not in conditions), None)
    if missing is not None:
        name = ", ".join(str(part) for part in missing)
        raise UserError(f"group {group.name}: no score for {name}; make the scores again.")
    part["k"] = [layers.get(condition, 0) for condition in conditions]
    part = part[(part.k > 0) | part.method.isin(BOUNDS)].astype({"value": float})
    found = drawing.over_seeds(part, KEYS)
    found.loc[found.method == REAL, "half_width"] = None  # two halves are not seeds
    return found.sort_values(["task", "metric", "k"], kind="stable", ignore_index=True)


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table = data(group, scores)
    tasks = list(dict.fromkeys(table.task))
    figure, panels = drawing.axes(len(tasks), len(group.sweep), sharex=True)
    swept = table[table.k > 0]
    ways = list(dict.fromkeys(zip(swept.shots, swept.warm_start, strict=True)))
    lines = {}
    for (task, name), part in table.groupby(["task", "metric"], sort=False):
        axis = panels[tasks.index(task)][group.sweep.index(name)]
        swept = part[part.k > 0]
        for (shots, start), points in swept.groupby(["shots", "warm_start"], sort=False):
            half = points.half_width.astype(float).fillna(0)
            label = condition_title("nada", "adaptive, k layers at a step", shots, start)
            colour = COLOURS[ways.index((shots, start)) % len(COLOURS)]
            look = {"color": colour, "marker": "o", "ms": 4}
            drawn = axis.errorbar(points.k, points["mean"], half, **look, lw=1.2, capsize=2)
            lines.setdefault(label, drawn)
        for bound in part[part.k == 0].itertuples():
            label = {"source": "source model", REAL: "real images"}[bound.method]
            look = styles([(bound.method, bound.variant)])[bound.method, bound.variant]
            lines.setdefault(label, axis.axhline(bound.mean, **line(look), lw=1))
        axis.set_xticks(sorted(set(swept.k)))
        axis.set(xlabel="k: convolutions trained at a step")
        axis.set_ylabel(drawing.metric_label(metric(name), swept), fontsize=8)
        if name == group.sweep[0]:
            drawing.side_title(axis, drawing.task_title(task))
    drawing.legend(figure, lines)
    drawing.title(figure, group.heading)
    drawing.save(figure, table, prefix)


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "sweep", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
