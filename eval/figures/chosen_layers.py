"""How often adaptive selection trained each convolution (Gal et al. 2021, §4.2, Fig. 4).

One panel per task and adaptive variant. Bars, light to dark: the share of steps in each quarter of the
training that trained the convolution; black line: the share of all steps; mean over seeds. The dotted line
is a random choice.

    python -m eval.figures.chosen_layers --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.svg, .pdf, .png and .csv from the column `layers` of the runs' curves.
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import condition_title
from eval.figures import drawing
from eval.figures.figure import Figure
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("curves",), when="chooses_layers")

#: Parts of a training, and the name of the whole.
QUARTERS, WHOLE = 4, "all"
#: Panels side by side.
ACROSS = 3

KEYS = [*CONDITION_KEYS, "quarter", "layer"]


def shares(chosen: pd.Series, layers: list[str]) -> dict[tuple[str, str], float]:
    """{(quarter, layer): share of the quarter's steps that trained the layer}; "all" is the whole.

    chosen: the layers of each step, separated by blanks. layers: those to count. The lengths of quarters
    differ by one step at most; a quarter without a step is left out.
    """
    steps = [set(text.split()) for text in chosen]
    cuts = np.array_split(np.arange(len(steps)), QUARTERS)
    parts = {str(number): list(cut) for number, cut in enumerate(cuts, start=1)}
    parts[WHOLE] = list(range(len(steps)))
    return {
        (quarter, layer): sum(layer in steps[i] for i in indices) / len(indices)
        for quarter, indices in parts.items()
        if indices
        for layer in layers
    }


def data(group: GroupSpec) -> pd.DataFrame:
    """Everything that is drawn: KEYS, mean over seeds, half_width, n.

    The convolutions come first, then the layers that only the slot map of the official code can choose
    (to_rgb). UserError: a run that selects layers recorded none.
    """
    rows = []
    for row in group.rows:
        if not row.chooses_layers:
            continue
        for run in row.runs:
            path = run.curves
            curves = drawing.read_curves(path)
            if "layers" not in curves or curves.layers.isna().any():
                raise UserError(f"{path}: the run selects layers, but its curves name none.")
            seen = {layer for text in curves.layers for layer in text.split()}
            layers = [str(index) for index in range(group.convolutions)]
            layers += sorted(seen - set(layers))
            counted = shares(curves.layers, layers)
            rows += [(*row.condition, *key, run.seed, share) for key, share in counted.items()]
    if not rows:
        raise UserError(f"group {group.name}: none of its conditions selects layers.")
    return drawing.over_seeds(pd.DataFrame(rows, columns=[*KEYS, "seed", "value"]), KEYS)


def _name(layer: str) -> str:
    """The tick of layer `3`: its number and the size of its maps (layer 0 is at 4², then two per size)."""
    return (
        f"{layer}\n{4 << (int(layer) + 1) // 2}²" if layer.isdigit() else layer.replace("_", "\n")
    )


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write the figure and its numbers; scores are not used."""
    import seaborn

    table = data(group)
    panels = list(table.groupby(list(CONDITION_KEYS), sort=False))
    across = min(ACROSS, len(panels))
    rows = -(-len(panels) // across)
    figure, grid = drawing.axes(rows, across, sharey=True)
    shades = seaborn.color_palette("Blues", QUARTERS + 1)[1:]
    drawn = {}
    for index, ((task, method, variant, shots, _), part) in enumerate(panels):
        axis = grid[index // across][index % across]
        layers = list(dict.fromkeys(part.layer))
        for number in range(1, QUARTERS + 1):
            quarter = part[part.quarter == str(number)].set_index("layer")["mean"]
            places = np.arange(len(layers)) + (number - 2.5) * 0.2
            bars = axis.bar(places, quarter.reindex(layers), 0.2, color=shades[number - 1], lw=0)
            drawn.setdefault(f"quarter {number}", bars)
        whole = part[part.quarter == WHOLE].set_index("layer")["mean"].reindex(layers)
        ends = np.arange(len(layers))
        drawn.setdefault("all steps", axis.hlines(whole, ends - 0.4, ends + 0.4, color="black"))
        even = axis.axhline(whole.sum() / len(layers), color="grey", ls=":", lw=1)
        drawn.setdefault("random choice", even)
        axis.set_xticks(ends, [_name(layer) for layer in layers])
        drawing.side_title(axis, drawing.task_title(task, condition_title(method, variant, shots)))
        axis.set(ylim=(0, 1), xlabel="convolution, with the side of its maps")
        axis.grid(axis="x", visible=False)
    for axis in grid.flat[len(panels) :]:
        axis.set_visible(False)
    for row in grid:
        row[0].set_ylabel(f"share of steps\nn = {drawing.seeds(table.n)}")
    drawing.legend(figure, drawn)
    drawing.title(figure, f"{group.heading}, layers chosen")
    drawing.save(figure, table, prefix)


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(argv, "chosen_layers", __doc__, draw)


if __name__ == "__main__":
    sys.exit(main())
