"""Turn observations into numbers: one tidy row per run and metric.

    python -m eval.score --spec SPEC.json --out FILE.csv

Columns: world, task, method, variant, shots, warm_start, seed, step, weights, metric, value, n.
`step` is "last" for the model as it ended, else the snapshot's step (on fewer images: see n).
`weights` is "final", or "raw" for the weights behind an average, where a method keeps both.
Rows of method "real" are the reference images against themselves: FID between two halves, the rest
for each half (`seed` counts the halves). `n`: images behind the value (clusters asked for
clusters_used).
"""

import argparse
import sys

import numpy as np
import pandas as pd

from eval.metrics.catalogue import (
    Value,
    accepted_values,
    copies_values,
    correspondence_values,
    diversity_values,
    fid_values,
    kid_values,
    mean_lpips_values,
    memorisation_values,
    other_fid_values,
    precision_recall_values,
    target_values,
)
from eval.metrics.fid import OTHER_MODES, FeatureSet
from eval.metrics.realism import PREFERENCE, REALISM, preference, realism
from eval.observation import Observation, load_observation
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import begins_with, check_output
from nada.run.spec.base import REAL
from nada.run.spec.group import GroupSpec, read_group_spec

COLUMNS = [
    "world", "task", "method", "variant", "shots", "warm_start", "seed", "step", "weights",
    "metric", "value", "n",
]  # fmt: skip
#: Value of column `step` for a model as its run left it.
LAST = "last"
#: Values of column `weights`: what `sample` draws from (an average, where there is one), and the
#: weights behind that average.
WEIGHTS, RAW = "final", "raw"


def _row(meta: dict, seed: int, step, value: Value, weights: str = WEIGHTS) -> dict:
    if not np.isfinite(value.value):
        raise UserError(
            f"{meta['task']}, {meta['method']} {meta['variant']}, seed {seed}:"
            f" {value.metric.name} is {value.value}; the observation holds values that are not"
            f" finite, make it again."
        )
    labels = {key: meta[key] for key in COLUMNS[:6]}
    return {
        **labels, "seed": seed, "step": step, "weights": weights,
        "metric": value.metric.name, "value": value.value, "n": value.n,
    }  # fmt: skip


def reference_sets(real: Observation) -> dict[str, FeatureSet]:
    """Features of all reference images, both halves, by the name of their array in an observation.

    "features", and those of clean-fid's other modes that the observation took.
    """
    names = ["features", *(name for name in OTHER_MODES if f"half0/{name}" in real.arrays)]
    halves = {name: [real[f"half{half}/{name}"] for half in (0, 1)] for name in names}
    return {name: FeatureSet(np.concatenate(parts)) for name, parts in halves.items()}


def score_runs(
    observation: Observation, references: dict[str, FeatureSet] | None, k: int
) -> list[dict]:
    """Rows of every seed and snapshot of one observation.

    references: the features of its reference images; without, nothing is compared with them.
    """
    meta, rows = observation.meta, []
    for run in meta["runs"]:
        seed, prefix = run["seed"], f"seed{run['seed']}"
        values = [
            *compared_values(observation, prefix, references, run["id"]),
            *diversity_values(observation[f"{prefix}/lpips"], k),
            *accepted_values(observation, prefix),
            *target_values(observation, prefix),
            *memorisation_values(observation, prefix),
            *correspondence_values(observation, prefix),
        ]
        rows += [_row(meta, seed, LAST, value) for value in values]
        for step in observation.snapshots(seed):
            at_step = f"{prefix}/snapshot{step}"
            values = [
                *snapshot_values(observation, at_step, references),
                *target_values(observation, at_step),
                *mean_lpips_values(observation[f"{at_step}/lpips"]),
            ]
            rows += [_row(meta, seed, step, value) for value in values]
        rows += score_raw(observation, run, references)
    return rows


def compared_values(observation: Observation, prefix: str, references: dict | None, what: str):
    """FID in every mode, KID, precision and recall against all reference images, if there are any."""
    if references is None:
        return
    features, reference = observation[f"{prefix}/features"], references["features"]
    yield from fid_values(features, reference, what)
    yield from other_fid_values(observation, prefix, references, what)
    yield from precision_recall_values(features, reference.features)


def snapshot_values(observation: Observation, prefix: str, references: dict | None):
    """KID against all reference images, if there are any."""
    if references is not None:
        yield from kid_values(observation[f"{prefix}/features"], references["features"].features)


def score_raw(observation: Observation, run: dict, references: dict | None) -> list[dict]:
    """Rows of a run's weights without averaging, last and snapshots; none where it kept no such."""
    prefix, seed, rows = f"seed{run['seed']}", run["seed"], []
    if f"{prefix}/raw/features" not in observation.arrays:
        return rows
    looks = [(LAST, f"{prefix}/raw")]
    looks += [(s, f"{prefix}/raw_snapshot{s}") for s in observation.snapshots(seed)]
    for step, at in looks:
        if f"{at}/features" not in observation.arrays:  # the last snapshot is the model itself
            continue
        values = [*target_values(observation, at)]
        if references is not None:
            features, reference = observation[f"{at}/features"], references["features"]
            last = step == LAST
            whole = fid_values(features, reference, run["id"]) if last else None
            values = [*(whole or kid_values(features, reference.features)), *values]
        rows += [_row(observation.meta, seed, step, value, RAW) for value in values]
    return rows


def preference_rows(
    runs: dict[tuple, Observation], baseline: tuple, real: Observation
) -> list[dict]:
    """Comparisons won against the baseline run of the same task and seed (2AFC, automatic judge).

    runs: (method, variant, shots, warm_start, seed) -> observation, of one task. baseline: the first
    four of them. Realism of both sides is measured against the real images without those
    that the other side trained on.
    """
    rows = []
    reference, numbers = reference_sets(real)["features"].features, reference_rows(real)
    for (*condition, seed), observation in runs.items():
        if (*baseline, seed) not in runs:
            continue
        ours = runs[*baseline, seed]
        names = [f"seed{seed}/{name}" for name in ("trained_references", "training_rows")]
        seen = [observation[name] for name in names if name in observation.arrays]
        trained = seen[0] if seen else np.zeros(0, int)
        fair = reference[~np.isin(numbers, trained)]
        theirs = realism(observation[f"seed{seed}/features"], fair)
        values = [Value(REALISM, float(np.median(theirs)), len(theirs))]
        if tuple(condition) != tuple(baseline):
            won = preference(theirs, realism(ours[f"seed{seed}/features"], fair))
            values.append(Value(PREFERENCE, won, len(theirs)))
        rows += [_row(observation.meta, seed, LAST, value) for value in values]
    return rows


def reference_rows(real: Observation) -> np.ndarray:
    """Which images of the reference file the rows of `reference_sets` are."""
    return np.concatenate([real["half0/rows"], real["half1/rows"]])


def score_real(observation: Observation, k: int) -> list[dict]:
    """Rows of the reference images: half against half, and each half by itself."""
    meta, what = observation.meta, "half of the references"
    taken = reference_sets(observation)
    others = {name: FeatureSet(observation[f"half1/{name}"], what) for name in taken}
    one, other = observation["half0/features"], others["features"]
    values = [
        *fid_values(one, other, what),
        *other_fid_values(observation, "half0", others, what),
        *precision_recall_values(one, other.features),
        *copies_values(taken["features"].features),
    ]
    rows = [_row(meta, 0, LAST, value) for value in values]
    for half in (0, 1):
        values = [
            *diversity_values(observation[f"half{half}/lpips"], k),
            *target_values(observation, f"half{half}"),
        ]
        rows += [_row(meta, half, LAST, value) for value in values]
    return rows


def score(group: GroupSpec) -> pd.DataFrame:
    """All rows of a group: real images first, then its observations in the group's order."""
    reals = {task: load_observation(path) for task, path in group.real.items()}
    for task, real in reals.items():
        if real.meta["method"] != REAL or real.meta["task"] != task:
            raise UserError(f"{real.path}: not a look at the reference images of {task}.")
    rows = [row for real in reals.values() for row in score_real(real, group.k_medoids)]
    references = {task: reference_sets(real) for task, real in reals.items()}
    compared: dict[str, dict] = {}
    for row in group.rows:
        path = row.observation
        observation = load_observation(path)
        meta = observation.meta
        real = reals.get(meta["task"])  # None: a task that has only a text
        for name in meta["referee"] if real else ():
            if meta["hashes"][name] != real.meta["hashes"].get(name):
                raise UserError(f"{path}: seen by another {name} network than {real.path}.")
        rows += score_runs(observation, references.get(meta["task"]), group.k_medoids)
        if group.preference:
            labels = tuple(meta[key] for key in COLUMNS[2:6])
            of_task = compared.setdefault(meta["task"], {})
            of_task.update({(*labels, run["seed"]): observation for run in meta["runs"]})
        print(f"scored {meta['task']}, {meta['method']} {meta['variant']}", flush=True)
    for task, runs in compared.items():
        if task not in reals:
            raise UserError(f"{group.name}: 'preference' needs reference images of task {task}.")
        rows += preference_rows(runs, group.preference.condition, reals[task])
    table = pd.DataFrame(rows, columns=COLUMNS)
    for row in table[(table.metric == "fid_images_per_feature") & (table.value < 2)].itertuples():
        print(
            f"note: {row.task}, {row.method} {row.variant}, seed {row.seed}: {row.value:.1f}"
            f" images per FID feature; below 2 the bias of FID dominates it."
        )
    return table


def read_scores(path, raw: bool = False) -> pd.DataFrame:
    """Read a scores table, rows of raw weights only when asked.

    Equal rows are merged: two groups may show the same run. UserError: no such file, no such column,
    or two rows that give one run's metric different values.
    """
    try:
        table = pd.read_csv(path, dtype={"step": str}, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such scores table; make it with python -m eval.score."
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a scores table ({error}).") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise UserError(f"{path}: not a scores table, column '{missing[0]}' is missing.")
    table = one_value_each(table, path)
    return table if raw else table[table.weights != RAW].reset_index(drop=True)


def one_value_each(table: pd.DataFrame, path) -> pd.DataFrame:
    """The table with equal rows merged. UserError names the first rows that contradict each other."""
    table = table.drop_duplicates(ignore_index=True)
    keys = COLUMNS[:-2]  # all but value and n
    if (twice := table.duplicated(keys)).any():
        row = table[twice].iloc[0]
        values = table[(table[keys] == row[keys]).all(axis=1)].value
        run = ", ".join(f"{row[key]}" for key in keys[1:-1] if row[key] != "")
        raise UserError(
            f"{path}: {row.metric} of {run} has {len(values)} different values:"
            f" {', '.join(f'{value}' for value in values)}. Two groups scored the run in different"
            " ways; make all scores again, or score these groups into different folders."
        )
    return table


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.score", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--out", required=True, help="the table of scores to write (CSV)")
    arguments = parser.parse_args(argv)
    check_output(arguments.out, begins_with(",".join(COLUMNS)), [arguments.spec])
    group = read_group_spec(arguments.spec)
    print(f"world {group.world}: scores of group {group.name}")
    table = score(group)
    with atomic_path(arguments.out) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    print(f"wrote {arguments.out}: {len(table)} rows")


if __name__ == "__main__":
    sys.exit(main())
