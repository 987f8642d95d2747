"""The rows of a group's table: means over seeds with intervals, and which are best."""

from dataclasses import dataclass

import pandas as pd

from eval.analysis.columns import Column, seed_values
from eval.analysis.names import condition_title
from eval.analysis.statistics import t_interval
from eval.metrics.metric import Metric
from nada.run.spec.base import BOUNDS, CONDITION_KEYS, REAL


@dataclass(frozen=True)
class Cell:
    """Mean over n seeds, half-width of its 95 % t interval (None for one seed), and whether it is best."""

    metric: Metric
    mean: float
    half: float | None
    n: int
    best: bool = False

    def text(self, plus_minus: str) -> str:
        """`12.34 ± 0.56`, or `12.34` for one seed, with the digits of the metric."""
        digits = self.metric.digits
        if self.half is None:
            return f"{self.mean:z.{digits}f}"  # z: no minus sign before a rounded zero
        return f"{self.mean:z.{digits}f} {plus_minus} {self.half:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One condition; cells in the order of the columns, None if nothing was scored."""

    condition: tuple
    label: str
    seeds: int
    cells: tuple[Cell | None, ...]

    @property
    def task(self) -> str:
        return self.condition[0]

    @property
    def method(self) -> str:
        return self.condition[1]


def rows(scores: pd.DataFrame, columns: list[Column]) -> list[Row]:
    """One row per condition, in the order of the scores; the bounds of each task come last.

    Best is the best mean of a task's rows without bounds. Means that are equal as printed are all best,
    but none is if all are equal or there is only one.
    """
    found = []
    for condition, part in scores.groupby(list(CONDITION_KEYS), sort=False):
        task, method, variant, shots, warm_start = condition
        cells = []
        for column in columns:
            values, metric = seed_values(part, column), column.metric
            if len(values) == 0:
                cells.append(None)
            elif method == REAL:  # two halves are not seeds: no interval
                cells.append(Cell(metric, float(values.mean()), None, len(values)))
            else:
                cells.append(Cell(metric, *t_interval(values), len(values)))
        seeds = 0 if method == REAL else part.seed.nunique()
        name = condition_title(method, variant, int(shots), warm_start)
        key = (task, method, variant, int(shots), warm_start)
        found.append(Row(key, name, seeds, tuple(cells)))
    tasks = list(dict.fromkeys(row.task for row in found))
    order = {method: place for place, method in enumerate(BOUNDS, start=1)}
    found.sort(key=lambda row: (tasks.index(row.task), order.get(row.method, 0)))
    return [row for task in tasks for row in _mark_best([r for r in found if r.task == task])]


def _mark_best(task_rows: list[Row]) -> list[Row]:
    rivals = [row for row in task_rows if row.method not in BOUNDS]
    marked = {id(row): list(row.cells) for row in task_rows}
    for column in range(len(task_rows[0].cells)):
        cells = [(row, row.cells[column]) for row in rivals if row.cells[column] is not None]
        if not cells or cells[0][1].metric.maximize is None:
            continue
        metric = cells[0][1].metric
        printed = [round(cell.mean, metric.digits) for _, cell in cells]
        if len(set(printed)) < 2:
            continue
        best = max(printed) if metric.maximize else min(printed)
        for (row, cell), value in zip(cells, printed, strict=True):
            if value == best:
                marked[id(row)][column] = Cell(metric, cell.mean, cell.half, cell.n, True)
    return [Row(r.condition, r.label, r.seeds, tuple(marked[id(r)])) for r in task_rows]
