"""Quality against diversity (Gal et al. 2021, §5.3, Fig. 12), mean over seeds with 95 % t intervals.

Quality is the share of comparisons that a model's images win, latent code by latent code, against those of
the group's preferred model, which itself is drawn at 0.5. Where people were asked, they decide; otherwise
an automatic judge does, by realism, and the axis says so. Diversity is intra-cluster LPIPS; where the world
has a judge of classes, a second panel counts only images that the judge accepts as the target, since noise
raises diversity. A model that memorised its training images is drawn hollow and is not part of the front.

    python -m eval.figures.pareto --spec SPEC.json --scores FILE.csv --out PREFIX [--answers SHARES.csv]

writes PREFIX.svg, .png and .csv. --answers takes what people prefer (eval/study/shares.py).
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import method_name, variant_name
from eval.figures import drawing
from eval.figures.figure import Figure
from eval.figures.palette import BOUNDS, DASHES, MARKERS, styles
from eval.metrics.intra_cluster_lpips import INTRA_CLUSTER_LPIPS
from eval.metrics.mean_lpips import ACCEPTED_LPIPS
from eval.metrics.memorisation import FLOOR, MEMORISED
from eval.metrics.realism import PREFERENCE
from eval.score import LAST
from eval.study.shares_table import read_shares
from nada.run.errors import UserError, command
from nada.run.spec.base import CONDITION_KEYS, REAL
from nada.run.spec.group_spec import GroupSpec

FIGURE = Figure(reads=("answers",), when="preference")

KEYS = ["task", "method", "variant", "shots"]
#: Metrics on the y axis, one per panel.
DIVERSITIES = (INTRA_CLUSTER_LPIPS, ACCEPTED_LPIPS)
#: Metrics that are drawn.
METRICS = (PREFERENCE.name, MEMORISED.name, *(metric.name for metric in DIVERSITIES))
#: Share of comparisons that a model wins against itself.
ITSELF = 0.5
#: Places of a point's name: offset to the right and up in points, and alignment.
PLACES = (
    (7, 0, "left"), (-7, 0, "right"), (6, 7, "left"), (6, -7, "left"), (-6, 7, "right"),
    (-6, -7, "right"), (0, 11, "center"), (0, -11, "center"), (9, 15, "left"), (9, -15, "left"),
    (-9, 15, "right"), (-9, -15, "right"), (8, 1, "left"),
)  # fmt: skip
#: With fewer values (as of models without accepted images on some seeds) no interval is drawn: it
#: would be as wide as the figure.
LEAST_DRAWN = 3
SIZES = {0: 60, 5: 22, 10: 40, 100: 75}


def data(group: GroupSpec, scores: pd.DataFrame, answers: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per condition and diversity: quality and diversity with half_width, memorised, front.

    answers: those of people, as `eval.study.shares.shares` returns them; models that were not shown to
    people then have no quality. UserError: the group prefers no model, or no comparison was scored.
    """
    if group.preference is None:
        raise UserError(f"group {group.name}: 'preference' names no model to compare with.")
    part = scores[(scores.world == group.world) & (scores.step == LAST) & (scores.method != REAL)]
    part = part[part.metric.isin(METRICS) & (part.warm_start == "source")]
    conditions = part[list(CONDITION_KEYS)].itertuples(index=False, name=None)
    shown = set(group.conditions)  # a file of all groups holds others' models, too
    part = part[[condition in shown for condition in conditions]]
    found = drawing.over_seeds(part.astype({"value": float}), [*KEYS, "metric"])
    if not (found.metric == PREFERENCE.name).any():
        raise UserError(f"group {group.name}: no comparison was scored; make the scores again.")
    found.loc[found.n < LEAST_DRAWN, "half_width"] = None
    values = {tuple(row[:5]): row[5:7] for row in found.itertuples(index=False, name=None)}
    if answers is not None:
        values = {key: value for key, value in values.items() if key[4] != PREFERENCE.name}
        for row in answers[answers.warm_start == "source"].itertuples():
            key = (row.task, row.method, row.variant, row.shots, PREFERENCE.name)
            values[key] = (row.won, (row.high - row.low) / 2)
    nothing = (np.nan, None)
    rows = []
    shown = [metric for metric in DIVERSITIES if (part.metric == metric.name).any()]
    for key in found[KEYS].drop_duplicates().itertuples(index=False, name=None):
        ours = key[1:] == group.preference.condition[:3]
        quality = (ITSELF, None) if ours else values.get((*key, PREFERENCE.name), nothing)
        memorised, _ = values.get((*key, MEMORISED.name), nothing)
        for metric in shown:  # without accepted images there is no diversity of them
            spread = values.get((*key, metric.name), nothing)
            rows.append((*key, metric.name, *quality, *spread, memorised))
    columns = ["quality", "quality_half_width", "diversity", "diversity_half_width", "memorised"]
    table = pd.DataFrame(rows, columns=[*KEYS, "metric", *columns])
    table["by_heart"] = table.memorised > FLOOR
    rivals = ~table.by_heart & ~table.method.isin(BOUNDS)
    rivals &= table.quality.notna() & table.diversity.notna()
    table["front"] = False
    for _, panel in table[rivals].groupby(["task", "metric"]):
        table.loc[panel.index, "front"] = pareto_front(panel.quality, panel.diversity)
    return table


def pareto_front(x, y) -> np.ndarray:
    """Whether each point [N] is on the front: no other has x and y as large or larger, and one larger."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    no_worse = (x[None] >= x[:, None]) & (y[None] >= y[:, None])
    better = (x[None] > x[:, None]) | (y[None] > y[:, None])
    return ~(no_worse & better).any(axis=1)


def label(row) -> str:
    """The name beside a point."""
    plain = row.method == "nada" and row.variant == "adaptive"
    variant = "" if plain else variant_name(row.variant)
    name = method_name(row.method) + (f", {variant}" if variant else "")
    return f"{name} {row.shots}" if row.shots else name


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str, answers: str | None = None) -> None:
    """Write the figure and its numbers. answers: the file of people's comparisons, if any."""
    people = read_shares(answers) if answers else None
    table = data(group, scores, people)
    judge = "realism, automatic judge" if people is None else f"{people.people.max()} people asked"
    tasks = list(dict.fromkeys(table.task))
    shown = [metric for metric in DIVERSITIES if metric.name in set(table.metric)]
    names = [metric.name for metric in shown]
    figure, panels = drawing.axes(len(tasks), len(shown))
    figure.set_size_inches(7.2 * len(shown), 5 * len(tasks))
    looks = styles(zip(table.method, table.variant, strict=True))
    for (task, metric), part in table.groupby(["task", "metric"], sort=False):
        column = names.index(metric)
        axis = panels[tasks.index(task)][column]
        front = part[part.front].sort_values("quality")
        axis.plot(front.quality, front.diversity, color="#BBBBBB", lw=1, zorder=1)
        points = part[np.isfinite(part.quality) & np.isfinite(part.diversity)]
        for row in points.itertuples():
            colour = looks[row.method, row.variant]["color"]
            spread = {
                "xerr": _half(row.quality_half_width), "yerr": _half(row.diversity_half_width)
            }  # fmt: skip
            axis.errorbar(row.quality, row.diversity, **spread, color=colour, lw=0.8, zorder=2)
            face = "white" if row.by_heart else colour
            size = SIZES.get(row.shots, 40)
            marker = MARKERS[DASHES.index(looks[row.method, row.variant]["linestyle"])]
            axis.scatter(
                row.quality, row.diversity, s=size, color=face, edgecolor=colour, marker=marker,
                zorder=3,
            )  # fmt: skip
        axis.axvline(ITSELF, color="#DDDDDD", lw=0.8, zorder=0)
        axis.margins(0.12)
        axis.set(title=task, xlabel=f"quality: comparisons won ({judge}) →")
        axis.set_ylabel(f"diversity: {shown[column].label} →")
    note = f"hollow: more than {FLOOR:.0%} of its images memorised; grey line: Pareto front"
    if ACCEPTED_LPIPS not in shown:
        note += "; diversity of accepted images is not measured: this world has no judge of classes"
    drawing.title(figure, f"{group.heading}\n{note}")
    figure.canvas.draw()  # fixes the positions of the points
    for (task, metric), part in table.groupby(["task", "metric"], sort=False):
        column = names.index(metric)
        name_points(panels[tasks.index(task)][column], part, looks)
    drawing.save(figure, table, prefix)


def name_points(axis, part: pd.DataFrame, looks: dict) -> None:
    """Write each point's name beside it, at the first of PLACES without another name, point or bar."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    points = part[np.isfinite(part.quality) & np.isfinite(part.diversity)]
    renderer = axis.figure.canvas.get_renderer()
    at = axis.transData.transform(points[["quality", "diversity"]].to_numpy(dtype=float))
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in at]
    for row, (x, y) in zip(points.itertuples(), at, strict=True):
        wide, high = _half(row.quality_half_width) or 0.0, _half(row.diversity_half_width) or 0.0
        ends = axis.transData.transform((row.quality + wide, row.diversity + high)) - (x, y)
        taken.append(Bbox.from_bounds(x - ends[0], y - 1, 2 * ends[0], 2))
        taken.append(Bbox.from_bounds(x - 1, y - ends[1], 2, 2 * ends[1]))
    for row in points.itertuples():
        for place in PLACES:
            x, y, side = place
            text = axis.annotate(
                label(row), (row.quality, row.diversity), xytext=(x, y), fontsize=7, ha=side,
                va="center", textcoords="offset points",
                color=looks[row.method, row.variant]["color"], zorder=4,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            if place is PLACES[-1] or not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _half(value) -> float | None:
    return float(value) if value is not None and np.isfinite(float(value)) else None


@command
def main(argv=None):
    """Command line of this module."""
    drawing.command_line(
        argv, "pareto", __doc__, draw, answers="what people prefer: the table of eval.study.shares"
    )


if __name__ == "__main__":
    sys.exit(main())
