"""The result in five sentences, each made from the scores: quality, recognition, diversity, few images, certainty.

A sentence is a list of texts and numbers (`eval.report.score_tables.Number`). A comparison is worded by the
95 % intervals: where they overlap, or where there is one seed, the sentence says so.
"""

import pandas as pd

from eval.analysis.columns import Column
from eval.analysis.rows import Cell, Row
from eval.claims import UNTESTED
from eval.metrics.fid import FID
from eval.metrics.intra_cluster_lpips import INTRA_CLUSTER_LPIPS
from eval.metrics.metric import Metric
from eval.metrics.target_rate import TARGET_RATE
from eval.report.contents import Contents
from eval.report.score_tables import Number, number
from nada.run.spec.base import BOUNDS, REAL, SOURCE
from nada.run.spec.group_spec import GroupSpec

Sentence = list[str | Number]
#: Tasks of the leading group that a sentence mentions at most.
MOST_TASKS = 3
BOUND_NAMES = {SOURCE: "unchanged source", REAL: "real images"}
#: A verdict of claims.csv, and what the sentence says of one such claim and of several.
VERDICTS = {
    "holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("is undecided", "are undecided")
}  # fmt: skip


def findings(contents: Contents, claims: pd.DataFrame | None) -> list[Sentence]:
    """At most five sentences; those that this world cannot fill are left out."""
    sentences = [
        quality(contents),
        recognition(contents),
        diversity(contents),
        few_images(contents),
        certainty(contents, claims),
    ]
    return [sentence for sentence in sentences if sentence]


def quality(contents: Contents) -> Sentence:
    """The lowest FID of each task, beside the unchanged source's and that of real images."""
    return _best_of_tasks(contents, FID, "The lowest FID of the adapted models is", (SOURCE, REAL))


def recognition(contents: Contents) -> Sentence:
    """The highest share of images that the judge calls the target."""
    says = "The highest share of images in which the judge sees the target is"
    return _best_of_tasks(contents, TARGET_RATE, says, (SOURCE,))


def diversity(contents: Contents) -> Sentence:
    """The highest intra-cluster LPIPS; more than real images have is no merit."""
    says = "The highest diversity of the adapted models (intra-cluster LPIPS) is"
    sentence = _best_of_tasks(contents, INTRA_CLUSTER_LPIPS, says, (SOURCE, REAL))
    return [*sentence, " Noise raises it too, so more than real images have is no merit."] if sentence else []


def few_images(contents: Contents) -> Sentence:
    """NADA without target images against the best few-shot method, by FID, in the first group that has both."""
    groups = [*contents.sections["pareto"], *contents.sections["paper"], *contents.groups]
    for group in groups:
        for task in group.tasks:
            rows = adapted(contents, group, task)
            few = _best([row for row in rows if row.condition[3]], contents, group, FID)
            # NADA on the same task may be in another group
            own = [row for g in contents.groups for row in adapted(contents, g, task) if row.method == "nada"]
            own = _best([row for row in own if not row.condition[3]], contents, None, FID)
            if few and own:
                (row, cell), (nada, nada_cell) = few, own
                return [
                    f"Without any image of the target, {nada.label} reaches on {task} a FID of ",
                    _number(contents, nada, FID, nada_cell),
                    f"; the best of the few-shot models, {row.label}, ",
                    _number(contents, row, FID, cell),
                    f"{compared(nada_cell, cell)}.",
                ]
    return []


def certainty(contents: Contents, claims: pd.DataFrame | None) -> Sentence:
    """How many seeds there are, and how the paper's claims fare."""
    seeds = len(contents.spec.seeds)
    if seeds == 1:
        sure = "One seed was run: no number has an interval, and differences between models may be chance."
    else:
        sure = f"Numbers are means over {seeds} seeds with 95 % intervals."
    if claims is None or not len(claims):
        return [sure]
    counts = {verdict: int((claims.verdict == verdict).sum()) for verdict in VERDICTS}
    told = [f"{count} {VERDICTS[verdict][count > 1]}" for verdict, count in counts.items() if count]
    untested = int(claims.verdict.isin(UNTESTED).sum())
    if untested:
        told.append(f"{untested} cannot be tested in this run")
    if untested == len(claims):
        return [f"{sure} None of the paper's {len(claims)} claims can be tested in this run."]
    listed = ", ".join(told[:-1]) + (" and " if len(told) > 1 else "") + told[-1]
    return [f"{sure} Of the paper's {len(claims)} claims, {listed}."]


# ---- parts of sentences ---------------------------------------------------------------------------


def adapted(contents: Contents, group: GroupSpec, task: str) -> list[Row]:
    """The rows of a group's task without the bounds."""
    rows = contents.tables[group.name].rows
    return [row for row in rows if row.task == task and row.method not in BOUNDS]


def cell_of(contents: Contents, row: Row, group: GroupSpec | None, metric: Metric) -> Cell | None:
    """The cell of a metric in a row of a group; None: in the first group that has row and metric."""
    for one in contents.groups if group is None else [group]:
        table = contents.tables[one.name]
        at = next((i for i, column in enumerate(table.columns) if column == Column(metric)), None)
        found = [r for r in table.rows if r.condition == row.condition]
        if at is not None and found and found[0].cells[at] is not None:
            return found[0].cells[at]
    return None


def overlap(one: Cell, other: Cell) -> bool:
    """Whether two intervals overlap; False if one of the cells has none."""
    if one.half is None or other.half is None:
        return False
    return abs(one.mean - other.mean) <= one.half + other.half


def compared(one: Cell, other: Cell) -> str:
    """What a reader may conclude from two cells of a metric for which less is better."""
    if one.half is None or other.half is None:
        return ", each from one seed"
    if overlap(one, other):
        return " (the intervals overlap, so neither is shown to be better)"
    return " (the intervals do not overlap)"


def _number(contents: Contents, row: Row, metric: Metric, cell: Cell) -> Number:
    return number(contents, row.condition, Column(metric), cell)


def _best(rows: list[Row], contents: Contents, group: GroupSpec | None, metric: Metric):
    """(row, cell) of the best mean of a metric; None if no row has one."""
    cells = [(row, cell) for row in rows if (cell := cell_of(contents, row, group, metric))]
    sign = -1 if metric.maximize else 1
    return min(cells, key=lambda pair: sign * pair[1].mean, default=None)


def _best_of_tasks(contents: Contents, metric: Metric, says: str, bounds: tuple[str, ...]) -> Sentence:
    """`SAYS VALUE on TASK, by MODEL (source VALUE, real images VALUE); …` over the leading group's tasks.

    Models that are equal as printed are counted. bounds: controls whose value is given as well.
    """
    told: Sentence = []
    for task in list(contents.lead.tasks)[:MOST_TASKS]:
        rows = adapted(contents, contents.lead, task)
        best = _best(rows, contents, contents.lead, metric)
        if best is None:
            continue
        row, cell = best
        cells = [cell_of(contents, row, contents.lead, metric) for row in rows]
        equal = sum(c is not None and c.text("±") == cell.text("±") for c in cells)
        who = f"all {equal} models" if equal == len(rows) > 1 else f"{equal} models" if equal > 1 else row.label
        told += ["; " if told else f"{says} ", _number(contents, row, metric, cell), f" on {task}, by {who}"]
        told += _bounds(contents, task, metric, bounds, cell)
    return [*told, "."] if told else []


def _bounds(contents: Contents, task: str, metric: Metric, methods: tuple[str, ...], best: Cell) -> Sentence:
    """` (source VALUE, real images VALUE)`; empty without a value. Says where an interval overlaps the best's."""
    rows = {row.method: row for row in contents.tables[contents.lead.name].rows if row.task == task}
    told: Sentence = []
    for method in methods:
        cell = cell_of(contents, rows[method], contents.lead, metric) if method in rows else None
        if cell is not None:
            told += [", " if told else " (", f"{BOUND_NAMES[method]} ", _number(contents, rows[method], metric, cell)]
            told += [", whose interval overlaps"] if overlap(best, cell) else []
    return [*told, ")"] if told else []
