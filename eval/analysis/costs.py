"""The costs of a group's runs, and their lengths as a share of the published ones.

Read from the records of the runs, `cost.json` and `run.json`. A run that continues another (a warm start,
a mapper) also needs that run's images and seconds, so these are added to its own.
"""

import csv
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval.analysis.names import condition_title, method_name
from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec

#: Published lengths of StyleGAN-NADA's trainings, by stage and task, with the place in the paper.
LENGTHS = Path(__file__).parents[1] / "paper" / "lengths.csv"
ADAPTATION, MAPPER = "adaptation", "mapper"
#: Columns of `frame` after CONDITION_KEYS, and what they are called.
COLUMNS = {
    "iterations": "iterations",
    "published_iterations": "published",
    "s": "s",
    "iterations_before": "iterations before",
    "images_seen": "images seen",
    "clip_calls": "CLIP calls",
    "wall_seconds": "seconds",
    "n": "runs",
}
#: Columns that are summed over a run and those that it continues.
SUMS = ("images_seen", "clip_calls", "wall_seconds")


@dataclass(frozen=True)
class Length:
    """The iterations of a training, and the published number of them (None: none is published).

    name: of the method, or of its mapper. task: None unless the published number depends on it.
    where: the source of the published number; empty if the hyperparameters state the number.
    hyperparameters: of the method, defaults included.
    """

    name: str
    task: str | None
    iterations: int
    published: int | None
    where: str
    hyperparameters: dict

    @property
    def s(self) -> float | None:
        """iterations / published, or None."""
        return None if self.published is None else self.iterations / self.published


def record(path) -> dict:
    """The cost record in a file. UserError: no such file, or another one."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no cost record ({error}); make the run again.") from None


def length(cost_record: str, group: GroupSpec) -> Length:
    """The length of the run that a cost record belongs to. UserError: its run.json is missing."""
    path = Path(cost_record).with_name("run.json")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))["spec"]
        hparams, method, task = run["hyperparameters"], run["method"], run["task"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no run record ({error}); make the run again.") from None
    if hparams.get("mapper"):
        stage, name, own = MAPPER, f"the mapper of {method_name(method)}", hparams["mapper"]
    else:
        stage, name, own = ADAPTATION, method_name(method), hparams
    ours = own.get("iterations", 0)
    if stated := own.get("published_iterations"):
        return Length(name, None, ours, stated, "", hparams)
    if method != "nada" or not ours:
        return Length(name, None, ours, None, "", hparams)
    if stage == MAPPER:
        return Length(name, None, ours, *known_length(MAPPER, ""), hparams)
    target = group.tasks[task].target if task in group.tasks else None
    found = known_length(ADAPTATION, task)
    if found == UNKNOWN and target is not None:
        found = known_length(ADAPTATION, f"a target {target.kind}")
    return Length(name, task, ours, *found, hparams)


UNKNOWN = (None, "")


@functools.cache
def _known_lengths() -> dict[tuple[str, str], tuple[int, str]]:
    with LENGTHS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["stage"], row["task"]): (int(row["iterations"]), row["where"]) for row in rows}


def known_length(stage: str, task: str) -> tuple[int | None, str]:
    """(iterations, where) of the published training of a stage on a task, or UNKNOWN."""
    return _known_lengths().get((stage, task), UNKNOWN)


def frame(group: GroupSpec) -> pd.DataFrame:
    """One row per condition of the group: CONDITION_KEYS and COLUMNS, means over its runs.

    iterations, published_iterations, s: of its own training. iterations_before: of the runs that it
    goes on from. images_seen, clip_calls, wall_seconds: of both. n: runs.
    """
    rows = []
    for row in group.rows:
        runs = [run for run in row.runs if run.costs]
        lineages = [[record(path) for path in run.costs] for run in runs]
        if not lineages:
            continue
        own = length(runs[0].costs[0], group)
        sums = [{key: sum(one[key] for one in records) for key in SUMS} for records in lineages]
        before = [sum(one["iterations"] for one in records[1:]) for records in lineages]
        rows.append(
            {
                **dict(zip(CONDITION_KEYS, row.condition, strict=True)),
                "iterations": sum(records[0]["iterations"] for records in lineages) / len(lineages),
                "published_iterations": own.published,
                "s": own.s,
                "iterations_before": sum(before) / len(before),
                **pd.DataFrame(sums).mean().round(1).to_dict(),
                "n": len(lineages),
            }
        )
    return pd.DataFrame(rows, columns=[*CONDITION_KEYS, *COLUMNS])


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `frame` as text: task, model, and its further columns under their headings."""

    def number(value, key: str) -> str:
        if pd.isna(value):
            return "–"
        return {"s": f"{value:.3g}", "wall_seconds": f"{value:,.1f}"}.get(key, f"{value:,.0f}")

    models = table[list(CONDITION_KEYS[1:])].itertuples(index=False, name=None)
    heads = {"task": list(table.task), "model": [condition_title(*model) for model in models]}
    values = {heading: [number(value, key) for value in table[key]] for key, heading in COLUMNS.items()}
    return pd.DataFrame(heads | values)


NOTE = (
    "Costs: means over seeds, of a run together with the runs that it continues (iterations before)."
    " s: its own iterations / the published ones. Seconds: wall clock of training."
)
