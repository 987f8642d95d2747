"""Losses of every method over its training, and how far CLIP sees the images move (‖ΔI‖).

Every step, smoothed by a running mean over a twentieth of the run. A line is the mean over seeds, its band the
95 % t interval for two seeds or more. Losses of different kinds (Eq. 1, Eq. 2, the mapper's) share a panel but
have no common scale. A group with many models has several rows of panels.

    python -m eval.figures.losses --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv; scores are not used.
"""

import sys

import pandas as pd

from eval.figures import drawing
from eval.figures.facets import of_task
from eval.figures.figure import Figure
from eval.figures.palette import CONTEXT, line, styles
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("curves",), when="trained")

#: Columns of a run's curves that are drawn, and their labels.
CURVES = {
    "loss": "loss", "image_change": "‖ΔI‖ in CLIP", "d_loss": "loss of D", "g_loss": "loss of G"
}  # fmt: skip
#: Width of the running mean, as a share of the run.
WINDOW = 1 / 20
#: Points of a smoothed curve that are kept.
POINTS = 50

KEYS = [*CONDITION_KEYS, "quantity", "step"]


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
                    key = (*row.condition, quantity)
                    rows += [(*key, step, run.seed, value) for step, value in smoothed.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "seed", "value"])


def data(group: GroupSpec) -> pd.DataFrame:
    """Everything that is drawn: KEYS, mean over seeds, half_width, n. UserError: no run trained anything."""
    rows = from_curves(group)
    if rows.empty:
        raise UserError(f"group {group.name}: none of its runs trained anything.")
    return drawing.over_seeds(rows, KEYS)


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers."""
    table = data(group)
    drawing.save(picture(group, table), table, prefix)


def picture(group: GroupSpec, table: pd.DataFrame):
    """The figure: for each task and facet a row, for each loss a column; empty rows are left out."""
    quantities = [name for name in CURVES if (table.quantity == name).any()]
    blocks = [
        (task, facet)
        for task in dict.fromkeys(table.task)
        for facet in of_task(group, table, task)
    ]
    figure, panels = drawing.axes(len(blocks), len(quantities))
    looks = styles(zip(table.method, table.variant, strict=True))
    for row, (task, facet) in zip(panels, blocks, strict=True):
        lines = {}
        for axis, quantity in zip(row, quantities, strict=True):
            part = table[(table.task == task) & (table.quantity == quantity)]
            for model, values in part.groupby(list(CONDITION_KEYS[1:]), sort=False):
                if model not in facet.models:
                    axis.plot(values.step, values["mean"], color=CONTEXT, lw=0.7, zorder=0)
                    continue
                look = line(looks[model[:2]])
                (drawn,) = axis.plot(values.step, values["mean"], **look, lw=1.2)
                lines.setdefault(facet.models[model], drawn)
                half = values.half_width.astype(float)
                if half.notna().any():
                    low, high = values["mean"] - half, values["mean"] + half
                    axis.fill_between(values.step, low, high, color=look["color"], alpha=0.15, lw=0)
            number = f"\nn = {drawing.seeds(part.n)}" if len(part) else ""
            axis.set(xlabel="training step", ylabel=CURVES[quantity] + number)
        drawing.side_title(row[0], drawing.task_title(task, facet.title))
        drawing.beside(row[-1], lines)
    drawing.title(figure, f"{group.heading}, losses over training")
    return figure


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "losses", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
