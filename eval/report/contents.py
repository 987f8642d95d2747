"""What the report is made from: groups, scores, records, and the conditions that its cells name."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval import tables
from eval.analysis.names import condition_title
from eval.score import read_scores
from nada.run.spec.base import CONDITION_KEYS, REAL
from nada.run.spec.group_spec import GroupSpec, RowSpec, read_group_spec
from nada.run.spec.report_spec import FigureSpec, ReportSpec

#: A group is about departures if its name ends so; the ablation leads the page where there is one.
DEPARTURES, LEADING = "departures", "ablation"


@dataclass
class Contents:
    """spec, groups in the order of the configuration, and scores with the rows of raw weights.

    `number` gives every condition that the page shows a number, the same in cells, pictures and details.
    """

    spec: ReportSpec
    groups: list[GroupSpec]
    scores: pd.DataFrame

    @functools.cached_property
    def tables(self) -> dict[str, tables.GroupTable]:
        """group → its table."""
        return {group.name: tables.computed(group, self.scores) for group in self.groups}

    @functools.cached_property
    def rows(self) -> dict[tuple, RowSpec]:
        """Values of CONDITION_KEYS → its row, for every condition but the real images."""
        return {row.condition: row for group in reversed(self.groups) for row in group.rows}

    @functools.cached_property
    def conditions(self) -> list[tuple]:
        """Every condition with a score, in the order of the groups; the real images as well."""
        shown = [row.condition for group in self.groups for row in self.tables[group.name].rows]
        return list(dict.fromkeys(shown))

    @functools.cached_property
    def _numbers(self) -> dict[tuple, int]:
        return {condition: number for number, condition in enumerate(self.conditions)}

    def number(self, condition: tuple) -> int | None:
        """The number of a condition; None if it has no score."""
        return self._numbers.get(condition)

    @functools.cached_property
    def records(self) -> dict[str, dict]:
        """Folder of a run → {"run": run.json, "cost": cost.json}, ancestors included."""
        found = {}
        for row in self.rows.values():
            for run in row.runs:
                for cost in run.costs:
                    folder = Path(cost).parent
                    if folder.as_posix() not in found:
                        read = {name: folder / f"{name}.json" for name in ("run", "cost")}
                        found[folder.as_posix()] = {
                            name: json.loads(path.read_text(encoding="utf-8")) for name, path in read.items()
                        }
        return found

    @functools.cached_property
    def lead(self) -> GroupSpec:
        """The group that opens the page: the ablation, or the first one."""
        return next((group for group in self.groups if group.name == LEADING), self.groups[0])

    @functools.cached_property
    def sections(self) -> dict[str, list[GroupSpec]]:
        """Section → its groups: lead, paper (published tables), pareto, departures, more."""
        found = {"lead": [self.lead], "paper": [], "pareto": [], "departures": [], "more": []}
        for group in self.groups:
            if group is self.lead:
                continue
            kind = "paper" if group.paper else "pareto" if group.preference else "more"
            found["departures" if group.name.endswith(DEPARTURES) else kind].append(group)
        return found

    def figures(self, *kinds: str, groups: list[GroupSpec] | None = None) -> list[FigureSpec]:
        """The figures of some kinds, of all groups or of some."""
        names = {group.name for group in (self.groups if groups is None else groups)}
        return [f for f in self.spec.figures if f.kind in kinds and f.group in names]


def name_of(condition: tuple) -> str:
    """The name of a condition, without its task."""
    return condition_title(*condition[1:])


def real_condition(task: str) -> tuple:
    """The condition of a task's real images."""
    return (task, REAL, "", 0, "source")


def read_contents(spec: ReportSpec) -> Contents:
    """Read the groups and scores of a report."""
    groups = [read_group_spec(path) for path in spec.groups]
    return Contents(spec, groups, read_scores(spec.scores, raw=True))


def labels(condition: tuple) -> dict:
    """{key: value} of CONDITION_KEYS."""
    return dict(zip(CONDITION_KEYS, condition, strict=True))
