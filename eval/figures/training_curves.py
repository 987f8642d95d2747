"""Every method over its training, against steps and against seconds, two rows of panels per task.

Loss and ‖ΔI‖ (how far CLIP sees the images move) of every step, smoothed by a running mean over a
twentieth of the run; and metrics of the snapshots, on fewer images than in the tables (column n of the
scores). A line is the mean over seeds, its band the 95 % t interval for two seeds or more. Where a method
averages its weights, a pale line shows the weights behind the average. Seconds are wall clock and include
the runs that a run goes on from; a mapper counts its own steps. Losses of different kinds (Eq. 1, Eq. 2,
the mapper's) share a panel but have no common scale.

    python -m eval.figures.training_curves --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .png and .csv.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis import costs
from eval.analysis.names import condition_title
from eval.figures import drawing
from eval.figures.figure import Figure
from eval.figures.palette import DASHES, styles
from eval.metrics.catalogue import metric
from eval.score import LAST, RAW, WEIGHTS
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("curves", "records"), when="trained")

#: Columns of a run's curves that are drawn, and their labels.
CURVES = {
    "loss": "loss", "image_change": "‖ΔI‖ in CLIP", "d_loss": "D's loss", "g_loss": "G's loss"
}  # fmt: skip
#: Metrics of the snapshots that are drawn.
METRICS = ("kid", "target_rate", "mean_lpips")
#: Width of the running mean, as a share of the run.
WINDOW = 1 / 20
#: Points of a smoothed curve that are kept.
POINTS = 50

KEYS = [*CONDITION_KEYS, "weights", "quantity", "step"]
#: How much paler raw weights are drawn.
PALE = 0.35


def smooth(values: pd.Series, window: float = WINDOW, points: int = POINTS) -> pd.Series:
    """A centred running mean over a share of the run, at `points` steps or fewer, the last included.

    values: indexed by step. Near the ends the window is cut off.
    """
    width = max(1, round(len(values) * window))
    means = values.rolling(width, center=True, min_periods=1).mean()
    stride = -(-len(means) // points)
    return means.iloc[::-1].iloc[::stride].iloc[::-1]


def from_curves(group: GroupSpec) -> pd.DataFrame:
    """Smoothed curves of every run: columns KEYS, seed, value."""
    rows = []
    for row in group.rows:
        for run in row.runs:
            curves = drawing.read_curves(run.curves)
            for quantity in CURVES:
                if quantity in curves and curves[quantity].notna().any():
                    smoothed = smooth(curves[quantity].dropna())
                    key = (*row.condition, WEIGHTS, quantity)
                    rows += [(*key, step, run.seed, value) for step, value in smoothed.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "seed", "value"])


def from_snapshots(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of every snapshot of the group's conditions: columns KEYS, seed, value.

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
    return both[[*KEYS, "seed", "value"]]


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


def data(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """Everything that is drawn: KEYS, mean over seeds, half_width, n, seconds (NaN: not recorded)."""
    rows = pd.concat([from_curves(group), from_snapshots(group, scores)], ignore_index=True)
    if rows.empty:
        raise UserError(f"group {group.name}: none of its runs trained anything.")
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
    tasks = list(dict.fromkeys(table.task))
    quantities = [q for q in (*CURVES, *METRICS) if (table.quantity == q).any()]
    clocks = ["step", *(["seconds"] if table.seconds.notna().any() else [])]
    figure, panels = drawing.axes(len(tasks) * len(clocks), len(quantities))
    looks = styles(zip(table.method, table.variant, strict=True))
    # if a method has several shots or warm starts, the dash distinguishes them
    ways = list(dict.fromkeys(zip(table.shots, table.warm_start, strict=True)))
    per_model = table.groupby(["method", "variant"])[["shots", "warm_start"]].nunique()
    dashed = (per_model > 1).to_numpy().any()
    lines = {}
    for (task, quantity), part in table.groupby(["task", "quantity"], sort=False):
        for number, clock in enumerate(clocks):
            row = tasks.index(task) * len(clocks) + number
            axis = panels[row][quantities.index(quantity)]
            marker = "o" if quantity in METRICS else None
            for (method, variant, shots, start, weights), line in part.groupby(
                [*CONDITION_KEYS[1:], "weights"], sort=False
            ):
                look = looks[method, variant]
                if dashed:
                    look = {**look, "linestyle": DASHES[ways.index((shots, start)) % len(DASHES)]}
                drawn = draw_line(axis, line, clock, weights == RAW, look, marker)
                if drawn is not None:
                    lines.setdefault(condition_title(method, variant, shots, start), drawn)
    for row, of_row in enumerate(panels):
        task, clock = tasks[row // len(clocks)], clocks[row % len(clocks)]
        of_row[0].set_ylabel(task)
        for axis, quantity in zip(of_row, quantities, strict=True):
            name = CURVES.get(quantity) or metric(quantity).heading
            axis.set(title=name if row == 0 else "", xlabel=clock)
    drawing.legend(figure, lines)
    pale = "; pale: the weights behind the average" if (table.weights == RAW).any() else ""
    clock = "; seconds include the runs that a run continues" if len(clocks) > 1 else ""
    drawing.title(figure, f"{group.heading}, over training{pale}{clock}")
    drawing.save(figure, table, prefix)


def draw_line(axis, line: pd.DataFrame, clock: str, raw: bool, look: dict, marker: str | None):
    """Draw the means of one model with their interval. Returns the line; None for raw weights (pale)."""
    if raw:
        axis.plot(line[clock], line["mean"], **look, lw=0.9, alpha=PALE)
        return None
    (drawn,) = axis.plot(line[clock], line["mean"], **look, lw=1.2, marker=marker, ms=2.5)
    half = line.half_width.astype(float)
    if half.notna().any():
        low, high = line["mean"] - half, line["mean"] + half
        axis.fill_between(line[clock], low, high, color=look["color"], alpha=0.15, lw=0)
    return drawn


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "training_curves", __doc__, draw, raw=True)


if __name__ == "__main__":
    sys.exit(main())
