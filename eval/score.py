"""Compute scores from observations: a table with one row per run, step and metric.

    python -m eval.score --spec SPEC.json --out FILE.csv

Columns: world, task, method, variant, shots, warm_start, seed, step, weights, metric, value, n.
`step`: "last" for the final model, else the step of a snapshot, which has fewer images.
`weights`: "final" for the weights that the model samples from, "raw" for those behind an average, where
a method keeps both. `n`: number of images behind the value (clusters, for clusters_used).
Rows of method "real" compare the reference images with themselves: FID, precision and recall between two
halves, other metrics for each half (`seed` is the number of the half).
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from eval.metrics import catalogue
from eval.metrics.fid import FID_IMAGES_PER_FEATURE, IMAGES_PER_FEATURE, OTHER_MODES, FeatureSet
from eval.metrics.metric import Value
from eval.metrics.realism import PREFERENCE, REALISM, preference, realism
from eval.metrics.sample import Sample
from eval.observation import Observation, load_observation
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import begins_with, check_output
from nada.run.spec.base import REAL
from nada.run.spec.group_spec import GroupSpec, read_group_spec

COLUMNS = [
    "world", "task", "method", "variant", "shots", "warm_start", "seed", "step", "weights",
    "metric", "value", "n",
]  # fmt: skip
#: Value of column `step` for the final model of a run.
LAST = "last"
#: Values of column `weights`: those that `sample` draws from (an average, where there is one), and
#: those behind the average.
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
    """Features of all reference images (both halves) by the name of their array in an observation.

    The names: "features", and those of clean-fid's other modes that the observation has.
    """
    names = ["features", *(name for name in OTHER_MODES if f"half0/{name}" in real.arrays)]
    halves = {name: [real[f"half{half}/{name}"] for half in (0, 1)] for name in names}
    return {name: FeatureSet(np.concatenate(parts)) for name, parts in halves.items()}


def score_runs(
    observation: Observation, references: dict[str, FeatureSet] | None, k: int
) -> list[dict]:
    """Rows of every seed, snapshot and weights of one observation.

    references: as `reference_sets` returns them; None where the task has no reference images. k:
    clusters of intra-cluster LPIPS.
    """
    rows = []
    for run in observation.meta["runs"]:
        for step, sample in samples(observation, run, references, k):
            weights = RAW if sample.raw else WEIGHTS
            rows += [
                _row(observation.meta, run["seed"], step, value, weights)
                for value in catalogue.values(sample)
            ]
    return rows


def samples(
    observation: Observation, run: dict, references: dict | None, k: int
) -> Iterator[tuple[int | str, Sample]]:
    """(step, sample) of one run: the final model and its snapshots, then the same with raw weights.

    The raw weights of the last snapshot are those of the final model and are measured once.
    """
    prefix, steps = f"seed{run['seed']}", observation.snapshots(run["seed"])
    told = {"name": run["id"], "references": references, "clusters": k}
    yield LAST, Sample(observation, prefix, **told)
    for step in steps:
        yield step, Sample(observation, f"{prefix}/snapshot{step}", **told, snapshot=True)
    if f"{prefix}/raw/features" in observation.arrays:
        yield LAST, Sample(observation, f"{prefix}/raw", **told, raw=True)
        for step in steps:
            at = f"{prefix}/raw_snapshot{step}"
            if f"{at}/features" in observation.arrays:
                yield step, Sample(observation, at, **told, snapshot=True, raw=True)


def preference_rows(
    runs: dict[tuple, Observation], baseline: tuple, real: Observation
) -> list[dict]:
    """Rows of realism, and of comparisons won against the preferred model's run of the same seed.

    runs: (method, variant, shots, warm_start, seed) -> observation, of one task. baseline: the first
    four of the preferred model. The realism of both models is measured against the real images that
    the compared model did not train on.
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
    """Index [N] in the reference file of each row of `reference_sets`."""
    return np.concatenate([real["half0/rows"], real["half1/rows"]])


def score_real(observation: Observation, k: int) -> list[dict]:
    """Rows of the reference images: half 0 against half 1, and each half by itself."""
    name = "half of the references"
    other = {array: FeatureSet(observation[f"half1/{array}"], name) for array in reference_sets(observation)}
    rows = []
    for half, references in ((0, other), (1, None)):
        sample = Sample(observation, f"half{half}", name, references, k, real=True)
        rows += [_row(observation.meta, half, LAST, value) for value in catalogue.values(sample)]
    return rows


def score(group: GroupSpec) -> pd.DataFrame:
    """All rows of a group: real images first, then its observations in the group's order."""
    reals = {task: load_observation(path) for task, path in group.real.items()}
    for task, real in reals.items():
        if real.meta["method"] != REAL or real.meta["task"] != task:
            raise UserError(f"{real.path}: not an observation of the reference images of {task}.")
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
                raise UserError(
                    f"{path}: measured by another {name} network than {real.path}; make both again."
                )
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
    few = (table.metric == FID_IMAGES_PER_FEATURE.name) & (table.value < IMAGES_PER_FEATURE)
    for row in table[few].itertuples():
        print(
            f"note: {row.task}, {row.method} {row.variant}, seed {row.seed}: {row.value:.1f} images per"
            f" FID feature; below {IMAGES_PER_FEATURE}, FID is dominated by its bias."
        )
    return table


def read_scores(path, raw: bool = False) -> pd.DataFrame:
    """Read a table of scores; raw: with the rows of raw weights.

    Equal rows are merged, since two groups may show the same run. UserError: no such file, a missing
    column, or two rows with different values of one run's metric.
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
    """The table with equal rows merged. UserError names the first rows that contradict one another."""
    table = table.drop_duplicates(ignore_index=True)
    keys = COLUMNS[:-2]  # all but value and n
    if (twice := table.duplicated(keys)).any():
        row = table[twice].iloc[0]
        values = table[(table[keys] == row[keys]).all(axis=1)].value
        run = ", ".join(f"{row[key]}" for key in keys[1:-1] if row[key] != "")
        raise UserError(
            f"{path}: {row.metric} of {run} has {len(values)} different values:"
            f" {', '.join(f'{value}' for value in values)}. Two groups scored the run differently;"
            " make all scores again, or score these groups into different folders."
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
