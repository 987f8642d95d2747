"""What a table leaves out because a task lacks what it needs: a judge, real images, images new to a run.

The plan says for each task what is missing and why (`TaskSpec.not_measured`); here that becomes columns
without a value and sentences of the footer. No torch.
"""

import pandas as pd

from eval.analysis.columns import Column
from nada.run.spec.group_spec import GroupSpec


def why_not(group: GroupSpec, column: Column) -> dict[str, str]:
    """task -> why it has no value in a column (`Metric.needs`); only tasks that lack what it needs."""
    lacks = {task: (spec.not_measured or {}).get(column.metric.needs) for task, spec in group.tasks.items()}
    return {task: why for task, why in lacks.items() if why}


def measured(group: GroupSpec, last: pd.DataFrame, columns: list[Column]) -> list[Column]:
    """The columns without those that have no value because of what the tasks lack."""
    values = set(last.metric)
    return [column for column in columns if column.name in values or not why_not(group, column)]


def notes(group: GroupSpec, last: pd.DataFrame, columns: list[Column]) -> list[str]:
    """One sentence for each reason: which of the columns are not measured, on which tasks, and why."""
    measured = set(zip(last.task, last.metric, strict=True))
    names = {}  # (tasks, whether some of their rows have a value, reason) -> labels of metrics
    for column in columns:
        of_reason = {}
        for task, why in why_not(group, column).items():
            of_reason.setdefault(why, []).append(task)
        for why, tasks in of_reason.items():
            partly = any((task, column.name) in measured for task in tasks)
            labels = names.setdefault((tuple(tasks), partly, why), {})
            labels[column.metric.label] = None
    return [
        f"{_where(group, tasks, partly)}: {', '.join(labels)}; {why}."
        for (tasks, partly, why), labels in names.items()
    ]


def _where(group: GroupSpec, tasks: tuple[str, ...], partly: bool) -> str:
    """How a sentence begins: what is not measured, in all rows or in some, and on which tasks."""
    begin = "Not measured in every row" if partly else "Not measured"
    return begin if tasks == tuple(group.tasks) else f"{begin} of {', '.join(tasks)}"
