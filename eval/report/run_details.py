"""What a cell opens: the runs of its condition, with values by seed, hyperparameters, hashes and pictures.

The page holds it as JSON. Keys: `conditions` (in the order of `Contents.conditions`), `metrics`.
"""

from pathlib import Path

from eval.analysis.columns import Column, seed_values
from eval.metrics import catalogue
from eval.report.contents import Contents, name_of
from eval.report.galleries import Strips, run_folder
from eval.score import LAST
from nada.run.spec.base import CONDITION_KEYS, REAL, SOURCE

#: Digits of a value by seed beyond those of the metric's mean.
MORE_DIGITS = 2


def details(contents: Contents, strips: Strips) -> dict:
    """The JSON of the page."""
    columns = {c.name: c for table in contents.tables.values() for c in table.columns}
    scores = contents.scores[contents.scores.world == contents.spec.world]
    parts = dict(list(scores.groupby(list(CONDITION_KEYS), sort=False)))
    return {
        "columns": {name: column.heading for name, column in columns.items()},
        "conditions": [_condition(contents, c, parts[c], columns, strips) for c in contents.conditions],
    }


def _condition(contents: Contents, condition: tuple, part, columns: dict[str, Column], strips: Strips) -> dict:
    row = contents.rows.get(condition)
    found = {
        "name": name_of(condition),
        "key": list(condition),
        "real": condition[1] == REAL,
        "values": {
            name: {str(seed): round(value, column.metric.digits + MORE_DIGITS) for seed, value in values.items()}
            for name, column in columns.items()
            if len(values := seed_values(part, column))
        },
        "others": _others(part, columns),
        "runs": [_run(contents, run) for run in row.runs] if row else [],
        "hyperparameters": {},
        "inputs": {},
        "strips": [[s.number, s.count, f"{key[1]:g}"] for key, s in strips.found.items() if _shows(key, condition)],
    }
    if row and (records := [contents.records[Path(run.costs[0]).parent.as_posix()] for run in row.runs if run.costs]):
        run = records[0]["run"]
        found["hyperparameters"] = flat(run["spec"]["hyperparameters"])
        found["inputs"] = {
            name: f"{about['file']} {about['sha256']}" for name, about in run["inputs"].items() if "sha256" in about
        }
    return found


def _others(part, columns: dict[str, Column]) -> dict[str, dict[str, float]]:
    """Metrics of final models that no table shows, by seed."""
    shown = {column.metric.name for column in columns.values()}
    part = part[(part.step == LAST) & (part.weights == "final") & ~part.metric.isin(shown)]
    found: dict[str, dict[str, float]] = {}
    for row in part.itertuples():
        metric = catalogue.metric(row.metric)
        value = round(float(row.value), metric.digits + MORE_DIGITS)
        found.setdefault(metric.label, {})[str(row.seed)] = value
    return found


def _run(contents: Contents, run) -> dict:
    """One seed's run: identity, hashes, costs."""
    if not run.costs:
        return {"seed": run.seed}
    record = contents.records[Path(run.costs[0]).parent.as_posix()]
    made, cost = record["run"], record["cost"]
    return {
        "seed": run.seed,
        "id": made["run"],
        "parent": made["parent"],
        "code": made["code"],
        "commit": cost.get("commit"),
        "device": made["device"],
        "torch": made["torch"],
        "few_shot": (made["few_shot"] or {}).get("indices"),
        "outputs": made["outputs"],
        "seconds": round(cost["wall_seconds"], 1),
        "images_seen": cost["images_seen"],
        "clip_calls": cost["clip_calls"],
        "memory_mb": round(cost["peak_memory_bytes"] / 2**20) if cost.get("peak_memory_bytes") else None,
    }


def _shows(key: tuple, condition: tuple) -> bool:
    """Whether a strip shows a condition: a run of it, its task's source, or its real images."""
    what = key[0]
    if isinstance(what, tuple):
        return what == condition
    task, method = condition[:2]
    if method == SOURCE:
        return what == f"{task}/source"
    return what.startswith(f"{run_folder(condition)}/seed")


def flat(values: dict, before: str = "") -> dict[str, str]:
    """Nested hyperparameters as {dotted name: text}."""
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{key}.")
        else:
            found[before + key] = "–" if value is None else str(value)
    return found
