"""Expand groups of config.yaml into conditions: rows, controls, parts, and parent conditions.

All functions take the merged configuration, a dict, and return new values. Needs no torch.
"""

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START
from workflow.plan.runs import Condition

STUDY = "study"  # the target that prepares the preference study
OWN = "own"  # in place of a variant's name: the value of each task's key `variant`
ROW_DEFAULTS = {"shots": [DEFAULT_SHOTS], "warm_starts": [DEFAULT_WARM_START]}
COMPARING = ("sweep", "against", "preference", "paper")  # a group's keys that need all its rows

# ---- rows and controls ----------------------------------------------------------------------------


def written_out(group, tasks):
    """A group whose rows have every key, with `own` replaced by the variant of each task.

    tasks: the configuration's. A row with `own` becomes one row for each distinct list of variants.
    """
    rows = []
    for row in group.get("rows", []):
        row = ROW_DEFAULTS | row
        if OWN not in row["variants"]:
            rows.append(row)
            continue
        shared = {}  # variants -> tasks
        for task in row.get("tasks", group["tasks"]):
            variants = (tasks[task]["variant"] if v == OWN else v for v in row["variants"])
            shared.setdefault(tuple(dict.fromkeys(variants)), []).append(task)
        rows += [{**row, "variants": list(names), "tasks": own} for names, own in shared.items()]
    return {**group, "rows": rows}


def rows_of(group):
    """A group's rows, one method each: {method, variants, shots, warm_starts, tasks (None: all)}."""
    return [
        {**{key: value for key, value in row.items() if key != "methods"}, "method": method}
        for row in group["rows"]
        for method in row["methods"]
    ]


def controls(group):
    """A group's controls: {method, shots, tasks (None: all)}; a plain name has shots 0."""
    entries = group["controls"]
    return [e if isinstance(e, dict) else {"method": e, "shots": [DEFAULT_SHOTS]} for e in entries]


def on_task(rows, task):
    """The rows, or controls, that include a task."""
    return [row for row in rows if task in row.get("tasks", [task])]


# ---- parts ----------------------------------------------------------------------------------------


def parts(group):
    """(name, rows) of a group's parts: its variants, or its methods if it compares several."""
    rows = rows_of(group)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    if len(methods) > 1:
        return [(m, [_as_written(row) for row in rows if row["method"] == m]) for m in methods]
    variants = dict.fromkeys(variant for row in rows for variant in row["variants"])
    return [
        (v, [_as_written({**row, "variants": [v]}) for row in rows if v in row["variants"]])
        for v in variants
    ]


def _as_written(row):
    """A row of `rows_of` in the form of config.yaml."""
    return {**{k: v for k, v in row.items() if k != "method"}, "methods": [row["method"]]}


def with_parts(name, group):
    """{name: group} of a group and of its parts, `<group>_<part>`.

    Parts have no controls, so that `-R adapt` on a part retrains only its own runs, and no comparisons
    of rows.
    """
    groups = {name: group}
    for part_name, rows in parts(group):
        part = {**group, "rows": rows, "controls": [], "title": f"{group['title']}: {part_name}"}
        alone = {key: value for key, value in part.items() if key not in COMPARING}
        groups[f"{name}_{part_name}"] = alone
    return groups


# ---- conditions -----------------------------------------------------------------------------------


def members(group, config):
    """The conditions of a group, in the order of its tables: controls, then rows, by task."""
    found = []
    for task in group["tasks"]:
        for control in on_task(controls(group), task):
            variants = config["methods"][control["method"]]["variants"]
            cells = [(v, n) for v in variants for n in control["shots"]]
            found += [Condition(task, control["method"], v, n) for v, n in cells]
        for row in on_task(rows_of(group), task):
            found += [
                Condition(task, row["method"], variant, shots, warm_start)
                for shots in row["shots"]
                for warm_start in row["warm_starts"]
                for variant in row["variants"]
            ]
    return list(dict.fromkeys(found))


def parent(condition, config):
    """The condition of the parent run, or None.

    A variant's `parent` is a variant of its method with the same shots and warm start, or
    {method, variant} without shots and warm start. Otherwise the warm start names the parent.
    """
    entry = config["methods"][condition.method]["variants"][condition.variant].get("parent")
    if isinstance(entry, str):
        return Condition(
            condition.task, condition.method, entry, condition.shots, condition.warm_start
        )
    if entry is None and condition.warm_start != DEFAULT_WARM_START:
        entry = config["warm_starts"][condition.warm_start]
    if entry is None:
        return None
    own = entry["variant"] == OWN
    variant = config["tasks"][condition.task]["variant"] if own else entry["variant"]
    return Condition(condition.task, entry["method"], variant)


def with_parents(conditions, config):
    """Conditions and their ancestors without duplicates; each before its parent."""
    found = {}
    for condition in conditions:
        while condition is not None:
            found[condition] = None
            condition = parent(condition, config)
    return list(found)


def groups_named(words, groups, study=None):
    """The groups of the configuration that words of a command line name.

    A word is the name of a group or of one of its parts, the path of a final file of a group, or `study`.
    study: the section of the configuration, which names a group.
    """
    stems = [word.rsplit("/", 1)[-1].split(".")[0] for word in words]
    if STUDY in stems and study:
        stems.append(study.get("group"))
    parts_of = [stem for stem in stems if stem not in groups and stem]
    return [g for g in groups if g in stems or any(stem.startswith(f"{g}_") for stem in parts_of)]
