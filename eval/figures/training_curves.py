"""Quality and diversity of every method over its training, against steps and against seconds.

The snapshots are measured on fewer images than the tables (n on the axes); too few for FID, which is shown
where the training ends, joined by a dotted line with the source model's, where it begins. A line is the mean
over seeds, its band the 95 % t interval for two seeds or more. Where a method averages its weights, a pale
line shows the weights behind the average. Seconds are wall clock and include the runs that a run goes on
from; a mapper counts its own steps. A group with many models has several rows of panels, in which grey lines
show the models of the other rows.

    python -m eval.figures.training_curves --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis import costs
from eval.figures import drawing
from eval.figures.facets import of_task
from eval.figures.figure import Figure
from eval.figures.palette import CONTEXT, line, styles
from eval.metrics.catalogue import metric
from eval.metrics.fid import FID
from eval.score import LAST, RAW, WEIGHTS
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, SOURCE
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("records",), when="trained")

#: Metrics of the snapshots that are drawn: quality, then diversity.
METRICS = ("kid", "target_rate", "mean_lpips")
#: What a row of panels is drawn against, and its name.
CLOCKS = {"step": "training step", "seconds": "seconds, with the runs before"}

KEYS = [*CONDITION_KEYS, "weights", "quantity", "step"]
#: How much paler raw weights are drawn.
PALE = 0.35


def from_snapshots(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of every snapshot of the group's conditions: columns KEYS, seed, value, n (images).

    Final raw weights are measured once, on all images; that value is their last point.
    """
    condition = list(CONDITION_KEYS)
    wanted = set(group.conditions)
    part = scores[(scores.world == group.world) & scores.metric.isin(METRICS)]
    part = part.rename(columns={"metric": "quantity"}).astype({"value": float})
    here = [key in wanted for key in part[condition].itertuples(index=False, name=None)]
    part = part[here]
    snapshots = part[part.step != LAST].astype({"step": int}).sort_values("step", kind="stable")
    several = snapshots.groupby(condition).step.transform("nunique") > 1
    snapshots = snapshots[several]  # one point makes no curve
    ends = snapshots.groupby(condition, as_index=False).step.max()
    raw_ends = part[(part.step == LAST) & (part.weights == RAW)].drop(columns="step")
    both = pd.concat([snapshots, raw_ends.merge(ends, on=condition)], ignore_index=True)
    return both[[*KEYS, "seed", "value", "n"]]


def seconds_of(group: GroupSpec) -> dict[tuple, tuple[float, float]]:
    """{condition: (seconds before its own training, seconds per step)}, means over seeds.

    Conditions without training are left out.
    """
    found = {}
    for row in group.rows:
        lineages = [[costs.record(path) for path in run.costs] for run in row.runs if run.costs]
        of_seeds = [
            (sum(r["wall_seconds"] for r in before), own["wall_seconds"] / own["iterations"])
            for own, *before in lineages
            if own["iterations"]
        ]
        if of_seeds:
            found[row.condition] = tuple(np.mean(of_seeds, axis=0))
    return found


def from_ends(group: GroupSpec, scores: pd.DataFrame, ends: dict[tuple, int]) -> pd.DataFrame:
    """FID where each training ends, and where one from the source model begins: columns as of the snapshots.

    ends: {condition: last step}.
    """
    part = scores[(scores.world == group.world) & (scores.metric == FID.name) & (scores.step == LAST)]
    part = part[part.weights == WEIGHTS].rename(columns={"metric": "quantity"}).astype({"value": float})
    own = part.assign(step=[ends.get(key) for key in part[list(CONDITION_KEYS)].itertuples(False, None)])
    own = own.dropna(subset="step").astype({"step": int})
    begun = []
    goes_on = {row.condition for row in group.rows if any(len(run.costs) > 1 for run in row.runs)}
    for condition in own[list(CONDITION_KEYS)].drop_duplicates().itertuples(False, None):
        if condition not in goes_on and condition[-1] == "source":
            start = part[(part.task == condition[0]) & (part.method == SOURCE)]
            begun.append(start.assign(**dict(zip(CONDITION_KEYS, condition, strict=True)), step=0))
    both = pd.concat([*begun, own], ignore_index=True)
    return both[[*KEYS, "seed", "value", "n"]].astype({"step": int})


def data(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """Everything that is drawn: KEYS, mean over seeds, half_width, n, images, seconds (NaN: not recorded)."""
    rows = from_snapshots(group, scores)
    if rows.empty:
        raise UserError(f"group {group.name}: none of its runs kept the models of two steps or more.")
    ends = rows.groupby(list(CONDITION_KEYS)).step.max().to_dict()
    rows = pd.concat([rows, from_ends(group, scores, ends)], ignore_index=True)
    found = drawing.over_seeds(rows, KEYS)
    clocks, conditions = seconds_of(group), found[list(CONDITION_KEYS)]
    known = [clocks.get(key, (np.nan, np.nan)) for key in conditions.itertuples(False, None)]
    found["seconds"] = [
        before + per_step * step
        for (before, per_step), step in zip(known, found.step.astype(float), strict=True)
    ]
    return found


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table = data(group, scores)
    drawing.save(picture(group, table), table, prefix)


def picture(group: GroupSpec, table: pd.DataFrame):
    """The figure: for each task, facet and clock a row, for each quantity a column."""
    quantities = [name for name in (*METRICS, FID.name) if (table.quantity == name).any()]
    clocks = [clock for clock in CLOCKS if table[clock].notna().any()]
    blocks = [
        (task, facet, clock)
        for task in dict.fromkeys(table.task)
        for facet in of_task(group, table, task)
        for clock in clocks
    ]
    figure, panels = drawing.axes(len(blocks), len(quantities))
    looks = styles(zip(table.method, table.variant, strict=True))
    for row, (task, facet, clock) in zip(panels, blocks, strict=True):
        lines = {}
        for axis, quantity in zip(row, quantities, strict=True):
            part = table[(table.task == task) & (table.quantity == quantity)]
            for model, of_model in part.groupby(list(CONDITION_KEYS[1:]), sort=False):
                for weights, values in of_model.groupby("weights", sort=False):
                    if model not in facet.models:
                        if weights == WEIGHTS:
                            axis.plot(values[clock], values["mean"], color=CONTEXT, lw=0.7, zorder=0)
                        continue
                    drawn = draw_line(axis, values, clock, weights == RAW, looks[model[:2]], quantity)
                    if drawn is not None:
                        lines.setdefault(facet.models[model], drawn)
            axis.set(xlabel=CLOCKS[clock])
            axis.set_ylabel(drawing.metric_label(metric(quantity), part[part.weights == WEIGHTS]) if len(part) else "", fontsize=8)
        drawing.side_title(row[0], drawing.task_title(task, facet.title))
        if clock == clocks[0]:
            drawing.beside(row[-1], lines)
    pale = "; pale: the weights behind the average" if (table.weights == RAW).any() else ""
    drawing.title(figure, f"{group.heading}, over training{pale}")
    return figure


def draw_line(axis, values: pd.DataFrame, clock: str, raw: bool, look: dict, quantity: str):
    """Draw the means of one model with their interval. Returns the line; None for raw weights (pale)."""
    if raw:
        axis.plot(values[clock], values["mean"], **line(look), lw=0.9, alpha=PALE)
        return None
    half = values.half_width.astype(float)
    if quantity == FID.name:
        axis.plot(values[clock], values["mean"], color=look["color"], ls=":", lw=0.8)
        end = values.iloc[[-1]]
        bar = half.iloc[[-1]].fillna(0)
        return axis.errorbar(end[clock], end["mean"], bar, **look, ms=4.5, capsize=2, lw=0.9)
    (drawn,) = axis.plot(values[clock], values["mean"], **look, lw=1.3, ms=3)
    if half.notna().any():
        low, high = values["mean"] - half, values["mean"] + half
        axis.fill_between(values[clock], low, high, color=look["color"], alpha=0.15, lw=0)
    return drawn


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "training_curves", __doc__, draw, raw=True)


if __name__ == "__main__":
    sys.exit(main())
