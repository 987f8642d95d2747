"""The columns of a group's tables: a metric, and which of its values."""

from dataclasses import dataclass

import pandas as pd

from eval.metrics.metric import Metric
from eval.score import LAST, RAW, WEIGHTS


@dataclass(frozen=True)
class Column:
    """A metric of the final model.

    oracle: of the run's best snapshot instead. raw: of the weights behind the average instead.
    """

    metric: Metric
    oracle: bool = False
    raw: bool = False

    @property
    def name(self) -> str:
        """The name of the column in the .csv file."""
        return self.metric.name + "_oracle" * self.oracle + "_raw" * self.raw

    @property
    def heading(self) -> str:
        """The title of the column in .md, .html and .tex."""
        if self.raw:
            return f"{self.metric.label}, raw weights {self.metric.arrow}"
        if not self.oracle:
            return self.metric.heading
        return f"{self.metric.label}, best snapshot {self.metric.arrow}"


def seed_values(part: pd.DataFrame, column: Column) -> pd.Series:
    """One value per seed {seed: float} of one condition's scores; empty if nothing was scored.

    An oracle's value is the best over a seed's snapshots; empty for a run of fewer than two snapshots.
    """
    part = part[part.weights == (RAW if column.raw else WEIGHTS)]
    part = part[part.metric == column.metric.name].astype({"value": float})
    if not column.oracle:
        return part[part.step == LAST].set_index("seed").value
    part = part[part.step != LAST]
    if part.step.nunique() < 2:
        return part.set_index("seed").value.iloc[:0]
    by_seed = part.groupby("seed").value
    return by_seed.max() if column.metric.maximize else by_seed.min()
