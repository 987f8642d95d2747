"""Quality against diversity (Gal et al. 2021, §5.3, Fig. 12), mean over seeds with 95 % t intervals.

Quality is the share of comparisons that a model's images win, latent code by latent code, against those of
the group's preferred model, which itself is drawn at 0.5. Where people were asked, they decide; otherwise
an automatic judge does, by realism, and the axis says so. Diversity is intra-cluster LPIPS; where the world
has a judge of classes, a second panel counts only images that the judge accepts as the target, since noise
raises diversity. A model that memorised its training images is drawn hollow and is not part of the front.

    python -m eval.figures.pareto --spec SPEC.json --scores FILE.csv --out PREFIX [--answers SHARES.csv]

writes PREFIX.svg, .pdf, .png and .csv. --answers takes what people prefer (eval/study/shares.py).
"""

import sys

import numpy as np
import pandas as pd

from eval.analysis.names import method_name, variant_name
from eval.figures import drawing, labels
from eval.figures.figure import Figure
from eval.figures.palette import BOUNDS, GREY, styles
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
#: With fewer values (as of models without accepted images on some seeds) no interval is drawn: it
#: would be as wide as the figure.
LEAST_DRAWN = 3
#: Width of a panel, and its height: the smallest of these at which no names overlap, in inches.
WIDTH, HEIGHTS = 7.2, (5, 6.5, 8.5)
SIZES = {0: 60, 5: 22, 10: 40, 100: 75}


def data(group: GroupSpec, scores: pd.DataFrame, answers: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per condition and diversity: quality and diversity with half_width, memorised, front.

    n, images: seeds and images behind the diversity. judges: seeds that the automatic judge compared, or people.
    comparisons: in each of these seeds, or by all people.

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
    values = {tuple(row[:5]): row[5:9] for row in found.itertuples(index=False, name=None)}
    if answers is not None:
        values = {key: value for key, value in values.items() if key[4] != PREFERENCE.name}
        for row in answers[answers.warm_start == "source"].itertuples():
            key = (row.task, row.method, row.variant, row.shots, PREFERENCE.name)
            values[key] = (row.won, (row.high - row.low) / 2, row.people, row.answers)
    nothing = (np.nan, None, np.nan, np.nan)
    rows = []
    shown = [metric for metric in DIVERSITIES if (part.metric == metric.name).any()]
    for key in found[KEYS].drop_duplicates().itertuples(index=False, name=None):
        ours = key[1:] == group.preference.condition[:3]
        quality = (ITSELF, *nothing[1:]) if ours else values.get((*key, PREFERENCE.name), nothing)
        memorised = values.get((*key, MEMORISED.name), nothing)[0]
        for metric in shown:  # without accepted images there is no diversity of them
            spread = values.get((*key, metric.name), nothing)
            rows.append((*key, metric.name, *quality, *spread, memorised))
    columns = ["quality", "quality_half_width", "judges", "comparisons", "diversity", "diversity_half_width"]
    columns += ["n", "images", "memorised"]
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
    """The name beside a point, with the number of images."""
    if row.method in BOUNDS:
        return f"{row.shots} images replayed" if row.shots else "source model"
    plain = row.method == "nada" and row.variant == "adaptive"
    variant = "" if plain else variant_name(row.variant)
    name = method_name(row.method) + (f", {variant}" if variant else "")
    return f"{name} {row.shots}" if row.shots else name


def draw(group: GroupSpec, scores: pd.DataFrame, prefix: str, answers: str | None = None) -> None:
    """Write the figure and its numbers. answers: the file of people's comparisons, if any."""
    people = read_shares(answers) if answers else None
    table = data(group, scores, people)
    drawing.save(picture(group, table, people), table, prefix)


def judged_by(table: pd.DataFrame, people: pd.DataFrame | None) -> str:
    """Who judged the quality, for the axis: people and their number, or the automatic judge."""
    if people is None:
        compared = drawing.count(table.comparisons.dropna(), "comparison")
        return f"automatic judge (realism), n = {compared}, {drawing.seeds(table.judges.dropna())}"
    return f"judged by people, n = {people.people.max()}"


def picture(group: GroupSpec, table: pd.DataFrame, people: pd.DataFrame | None = None):
    """The figure: for each task a row, for each diversity a column."""
    judge = judged_by(table, people)
    tasks = list(dict.fromkeys(table.task))
    shown = [metric for metric in DIVERSITIES if metric.name in set(table.metric)]
    names = [metric.name for metric in shown]
    figure, panels = drawing.axes(len(tasks), len(shown))
    figure.set_size_inches(WIDTH * len(shown), HEIGHTS[0] * len(tasks))
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
            marker = looks[row.method, row.variant]["marker"]
            axis.scatter(
                row.quality, row.diversity, s=size, color=face, edgecolor=colour, marker=marker,
                zorder=3,
            )  # fmt: skip
        axis.axvline(ITSELF, color="#DDDDDD", lw=0.8, zorder=0)
        axis.margins(0.12)
        drawing.side_title(axis, drawing.task_title(task))
        axis.set(xlabel=f"quality: share of comparisons won ↑\n{judge}")
        axis.set_ylabel("diversity: " + drawing.metric_label(shown[column], part.dropna(subset="n")))
    note = f"hollow: more than {FLOOR:.0%} of its images memorised; grey line: Pareto front"
    if ACCEPTED_LPIPS not in shown:
        note += "; diversity of accepted images is not measured: this world has no judge of classes"
    drawing.title(figure, f"{group.heading}\n{note}")
    for height in HEIGHTS:
        figure.set_size_inches(WIDTH * len(shown), height * len(tasks))
        figure.canvas.draw()  # fixes the positions of the points
        placed = [
            name_points(panels[tasks.index(task)][names.index(metric)], part, looks)
            for (task, metric), part in table.groupby(["task", "metric"], sort=False)
        ]
        if height == HEIGHTS[-1] or not any(names_of_panel.overlaps for names_of_panel in placed):
            break
        for names_of_panel in placed:
            names_of_panel.remove()
    return figure


def name_points(axis, part: pd.DataFrame, looks: dict) -> labels.Placed:
    """Write each point's name beside it."""
    points = part[np.isfinite(part.quality) & np.isfinite(part.diversity)]
    halves = points[["quality_half_width", "diversity_half_width"]].to_numpy(dtype=float)
    return labels.place(
        axis,
        points[["quality", "diversity"]].to_numpy(dtype=float),
        [label(row) for row in points.itertuples()],
        [GREY if row.method in BOUNDS else looks[row.method, row.variant]["color"] for row in points.itertuples()],
        np.nan_to_num(halves),
    )


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
