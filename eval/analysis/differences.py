"""The second table: differences of a group's variants from a baseline, paired over seeds."""

from dataclasses import dataclass

import pandas as pd

from eval.analysis.columns import Column, seed_values
from eval.analysis.names import condition_title, method_name
from eval.analysis.statistics import (
    LEAST_SEEDS,
    UNDECIDED,
    holm,
    seeds_needed,
    sign_flip_p,
    t_interval,
)
from eval.metrics.metric import Metric
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import DifferenceSpec

#: A model of one task: method, variant, shots, warm start.
Model = tuple[str, str, int, str]


@dataclass(frozen=True)
class Difference:
    """A variant minus its baseline, over the seeds that both have: one metric on one task.

    mean, half: of the paired differences, as measured (not signed by what is better). p: two-sided
    exact sign-flip test, Holm-corrected over the rows of its column; None below LEAST_SEEDS seeds.
    """

    metric: Metric
    mean: float
    half: float | None
    p: float | None

    def text(self) -> str:
        """`+1.23 ± 0.45, p 0.06`; `undecided` in place of p if there are too few seeds."""
        spread = "" if self.half is None else f" ± {self.half:.{self.metric.digits}f}"
        verdict = UNDECIDED if self.p is None else f"p {self.p:.2g}"
        return f"{self.mean:+z.{self.metric.digits}f}{spread}, {verdict}"


def pairs(models: list[Model], wanted: tuple[DifferenceSpec, ...]) -> list[tuple[Model, Model]]:
    """(variant, baseline) of every pair that is wanted, among the models of a task.

    A variant is paired with the baseline
    of its own shots and warm start; with another only where the baseline has one model alone.
    """
    found = []
    for entry in wanted:
        bases = [model for model in models if model[:2] == (entry.method, entry.baseline)]
        for variant in entry.variants:
            for model in (model for model in models if model[:2] == (entry.method, variant)):
                same = [base for base in bases if base[2:] == model[2:]]
                found += [(model, base) for base in (same or (bases if len(bases) == 1 else []))]
    return found


def found(scores: pd.DataFrame, columns: list[Column], wanted) -> list[tuple]:
    """(task, variant, baseline, [Difference or None per column]) of every pair that is wanted.

    wanted: `GroupSpec.differences`. Pairs without a seed in common are left out.
    """
    rows = []
    for task, of_task in scores.groupby("task", sort=False):
        parts = {key: part for key, part in of_task.groupby(list(CONDITION_KEYS[1:]), sort=False)}
        paired = pairs(list(parts), wanted)
        per_column = []
        for column in columns:
            values = {model: seed_values(parts[model], column) for pair in paired for model in pair}
            gains = [(values[v] - values[b]).dropna().to_numpy() for v, b in paired]
            tested = [i for i, d in enumerate(gains) if len(d) >= LEAST_SEEDS]
            p = dict(zip(tested, holm([sign_flip_p(gains[i], "two-sided") for i in tested])))
            per_column.append(
                [
                    Difference(column.metric, *t_interval(d), p.get(i)) if len(d) else None
                    for i, d in enumerate(gains)
                ]
            )
        of_pairs = zip(*per_column, strict=True)
        rows += [(task, *pair, list(row)) for pair, row in zip(paired, of_pairs, strict=True)]
    return rows


def frame(rows: list[tuple], columns: list[Column]) -> pd.DataFrame:
    """The second table as text: task, variant, baseline, one cell per column."""
    methods = {model[0] for _, *pair, _ in rows for model in pair}

    def name(model: Model) -> str:
        whole = condition_title(*model)
        return whole if len(methods) > 1 else whole.removeprefix(f"{method_name(model[0])} ")

    return pd.DataFrame(
        [
            [task, name(variant), name(baseline), *(cell.text() if cell else "–" for cell in cells)]
            for task, variant, baseline, cells in rows
        ],
        columns=["task", "variant", "minus", *(column.heading for column in columns)],
    )


NOTE = (
    "Differences, paired over seeds: mean, 95 % t interval, and p of the two-sided exact sign-flip test,"
    f" Holm-corrected over a task's rows; undecided: fewer than {LEAST_SEEDS} seeds. With {{rows}} rows, p"
    " cannot fall below 5 % with fewer than {needed} seeds; see the intervals."
)


def note(rows: list[tuple]) -> str:
    """The note under the second table. A two-sided test counts as two claims."""
    tasks = [task for task, *_ in rows]
    most = max(tasks.count(task) for task in tasks)
    return NOTE.format(rows=most, needed=seeds_needed(2 * most))
