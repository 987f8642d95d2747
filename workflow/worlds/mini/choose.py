"""Choose hyperparameters from the trials on the development tasks, by one rule for every method.

The rule, committed before the trials:

1. Every method has twelve trials: its published hyperparameters and eleven others. NADA's are nine of its adaptation
   and three of the mapper on the chosen adaptation.
2. A trial is measured at its snapshots: KID of the averaged weights (for NADA of its only ones) on both development
   tasks. KIDs below FLOOR count as FLOOR, since one training moves by about that much. What counts is their
   geometric mean.
3. A trial's length is the earliest snapshot within a tenth of its best one.
4. The published hyperparameters stay unless a trial is lower by a fifth or more; then the lowest one is chosen.

    snakemake all --cores 2 --config preset=development
    python -m workflow.worlds.mini.choose --results results/development --out results/development/chosen.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nada.run.errors import UserError, command

TASKS = ("dog2fox", "face2cartoon")
PUBLISHED = "published"  # the variant with the published hyperparameters
FLOOR = 0.1
NEAR = 1.1  # a length is long enough if it is within a tenth of the best
BETTER = 0.8  # a trial is chosen over the published values if it is lower by a fifth


def curves(scores):
    """Geometric mean of KID over TASKS by (method, variant, step), last models as their number of steps.

    scores: columns of scores.csv. UserError: a task lacks a trial.
    """
    import numpy as np

    kept = scores[(scores.metric == "kid") & scores.task.isin(TASKS) & (scores.weights == "final")]
    kept = kept[~kept.method.isin(("real", "source", "replay"))]
    table = kept.pivot_table(index=["method", "variant", "step"], columns="task", values="value")
    for task in TASKS:
        if task not in table or table[task].isna().any():
            missing = "all" if task not in table else " ".join(map(str, table.index[table[task].isna()][0]))
            raise UserError(f"{task} lacks trials ({missing}); run the preset development first.")
    means = np.exp(np.log(table[list(TASKS)].clip(lower=FLOOR)).mean(axis=1))
    return means.rename("kid").reset_index()


def length(curve) -> tuple[int, float]:
    """(earliest step within a tenth of the best, its KID) of one trial; curve: columns step, kid."""
    curve = curve.assign(step=curve.step.astype(int)).sort_values("step")
    near = curve[curve.kid <= NEAR * curve.kid.min()].iloc[0]
    return int(near.step), float(near.kid)


def choose(means):
    """One row for each trial: method, variant, step, kid, chosen; means: as of `curves`, steps are numbers."""
    import pandas as pd

    rows = []
    for method, trials in means.groupby("method", sort=False):
        found = [(variant, *length(curve)) for variant, curve in trials.groupby("variant", sort=False)]
        kids = {variant: kid for variant, _, kid in found}
        if PUBLISHED not in kids:
            raise UserError(f"{method} has no trial '{PUBLISHED}', with which the others are compared.")
        best = min(kids, key=kids.get)
        chosen = best if kids[best] <= BETTER * kids[PUBLISHED] else PUBLISHED
        rows += [(method, variant, step, kid, variant == chosen) for variant, step, kid in found]
    return pd.DataFrame(rows, columns=["method", "variant", "step", "kid", "chosen"])


@command
def main(argv=None) -> None:
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m workflow.worlds.mini.choose", description=about)
    parser.add_argument("--results", type=Path, required=True, help="folder of the trials")
    parser.add_argument("--out", type=Path, required=True, help=".csv file to write")
    arguments = parser.parse_args(argv)
    from eval.score import read_scores
    from nada.run.atomic import atomic_path
    from nada.run.outputs import check_output

    path = arguments.results / "scores.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing; run `snakemake all --config preset=development` first.")
    check_output(arguments.out, inputs=[path])
    scores = read_scores(path)
    scores = scores[scores.step.astype(str) != "last"]  # each trial has a snapshot at its last step
    table = choose(curves(scores))
    with atomic_path(arguments.out) as temporary:
        table.round(4).to_csv(temporary, index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    raise SystemExit(main())
