"""Tests the claims of the paper: each holds, fails or is undecided.

    python -m eval.claims --claims claims.yaml --scores scores.csv --world mini --out PREFIX

writes PREFIX.csv, .md and .html. claims.yaml says what is tested and how; it is committed before the run
that it judges. `eval.analysis.evidence` computes one number per seed, `eval.analysis.statistics.verdicts`
tests the numbers. A claim that the world cannot test, or that has too few seeds, gets no verdict and is not
counted in Holm's correction; the page gives the reason.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import yaml

from eval.analysis.evidence import STATISTICS, Claim, Evidence, NotTestable, Scores, evidence
from eval.analysis.statistics import LEAST_SEEDS, seeds_needed, verdicts
from eval.metrics.catalogue import metric
from eval.metrics.realism import PREFERENCE
from eval.pages.rendering import page
from eval.score import read_scores
from eval.table_formats import html_frame
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs

DROPPED, NOT_TESTABLE = "dropped", "not testable here"
UNTESTED = (DROPPED, NOT_TESTABLE)
ENDINGS = (".csv", ".md", ".html")  # of the files that `write` writes
#: The unit of a claim's advantage, by its statistic; the metric's label stands for {}.
UNITS = {
    "better": "{}",
    "above": "{} beyond the threshold",
    "most": "share of models, by {}",
    "front": "share of seeds, less 1/2",
    "cells": "cells of the table, by {}",
    "steadiest": "methods, by {}",
}
KEYS = ("sentence", "where", "statistic", "metric", "direction", "margin")


def read_claims(path) -> list[Claim]:
    """Read claims.yaml; UserError names the entry and what is wrong with it."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of claims.") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path}: it must be a mapping with the key 'claims' ({error}).") from None
    return [_claim(path, name, entry) for name, entry in entries.items()]


def _claim(path, name: str, entry: dict) -> Claim:
    """One entry, checked."""
    statistic = entry.get("statistic")
    if statistic is not None and statistic not in STATISTICS:
        raise UserError(
            f"{path}: the claim '{name}' has the statistic '{statistic}'; it must be one of"
            f" {', '.join(STATISTICS)}."
        )
    missing = [key for key in (*KEYS, *STATISTICS.get(statistic, ())) if key not in entry]
    if missing:
        raise UserError(f"{path}: the claim '{name}' lacks the key '{missing[0]}'.")
    if entry["direction"] not in ("higher", "lower"):
        raise UserError(f"{path}: the direction of '{name}' must be 'higher' or 'lower'.")
    for column in (entry["metric"], entry.get("second", entry["metric"])):
        metric(column)
    if not isinstance(entry.get("dropped", {}), dict):
        raise UserError(f"{path}: 'dropped' of '{name}' must map worlds to reasons.")
    rest = {key: value for key, value in entry.items() if key not in KEYS}
    return Claim(name, *(entry[key] for key in KEYS), rest)


def found_for(claims: list[Claim], scores: Scores) -> tuple[dict[str, Evidence], dict[str, str]]:
    """({claim: evidence}, {claim: why it is not tested}); evidence of too few seeds is in both."""
    found, reasons = {}, {}
    for claim in claims:
        if reason := claim.dropped(scores.lineage):
            reasons[claim.name] = reason
            continue
        try:
            found[claim.name] = evidence(claim, scores)
        except NotTestable as reason:
            reasons[claim.name] = str(reason)
            continue
        if (seeds := len(found[claim.name].values)) < LEAST_SEEDS:
            reasons[claim.name] = f"paired seeds: {seeds}; the exact test needs {LEAST_SEEDS}"
    return found, reasons


def decide(claims: list[Claim], scores: Scores, raw: Scores | None = None) -> pd.DataFrame:
    """One row per claim: verdict, mean, half_width, seeds, p, tasks, raw_verdict and reason.

    raw: scores of the weights behind averages; raw_verdict is empty if the claim compares no model with
    such weights. reason: why a claim was not tested. Holm's correction counts the tested claims.
    """
    found, reasons = found_for(claims, scores)
    tested = [claim for claim in claims if claim.name not in reasons]

    def tests(evidences: dict[str, Evidence]) -> dict:
        pairs = [(evidences[claim.name].values.to_numpy(), claim.margin) for claim in tested]
        names = [claim.name for claim in tested]
        return dict(zip(names, verdicts(pairs), strict=True)) if pairs else {}

    decided, other = tests(found), {}
    if raw is not None:
        behind, lacking = found_for(tested, raw)
        changed = {
            name
            for name in behind
            if name not in lacking and not behind[name].values.equals(found[name].values)
        }
        other = tests({**found, **{name: behind[name] for name in changed}})
        other = {name: other[name].outcome for name in changed}
    lines = []
    for claim in claims:
        untested = DROPPED if claim.dropped(scores.lineage) else NOT_TESTABLE
        values = (untested, None, None, 0, None)
        if verdict := decided.get(claim.name):
            values = (verdict.outcome, verdict.mean, verdict.half_width, verdict.n, verdict.p)
        elif claim.name in found:  # too few seeds: only the mean is shown
            seeds = found[claim.name].values
            values = (untested, float(seeds.mean()), None, len(seeds), None)
        unit = UNITS[claim.statistic].format(metric(claim.metric).label)
        about = (claim.name, claim.sentence, claim.where, claim.metric, unit, claim.margin)
        on = " ".join(found[claim.name].tasks) if claim.name in found else ""
        more = (on, other.get(claim.name, ""), reasons.get(claim.name, ""))
        lines.append((*about, *values, *more))
    columns = ["claim", "sentence", "where", "metric", "unit", "margin"]
    columns += ["verdict", "mean", "half_width", "seeds", "p", "tasks", "raw_verdict", "reason"]
    return pd.DataFrame(lines, columns=columns)


NOTE = (
    "Advantage: mean over seeds of what claims.yaml compares, in the unit of the next column, positive if it"
    " supports the claim."
    " Verdicts: exact sign-flip test over paired seeds, Holm-corrected over the claims that this world can"
    " test ({claims} here): fewer than {seeds} seeds cannot decide any."
)
RAW_NOTE = (
    "Raw weights: the verdict for the weights behind the averages of the few-shot methods, if it differs."
)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text, for the pages."""

    def number(row) -> str:
        if row.seeds == 0:
            return "–"
        spread = f" ± {row.half_width:.3f}" if pd.notna(row.half_width) else ""
        return f"{row['mean']:+.3f}{spread}"

    def verdict(row) -> str:
        differs = row.raw_verdict not in ("", row.verdict)
        return f"{row.verdict} (raw weights: {row.raw_verdict})" if differs else row.verdict

    return pd.DataFrame(
        {
            "claim": table.sentence,
            "verdict": [verdict(row) for _, row in table.iterrows()],
            "advantage": [number(row) for _, row in table.iterrows()],
            "p": ["–" if pd.isna(p) else f"{p:.2g}" for p in table.p],
            "seeds": table.seeds,
            "in": table.unit,
            "on": [tasks.replace(" ", ", ") or "–" for tasks in table.tasks],
            "where": table["where"],
        }
    )


def notes_on(table: pd.DataFrame, truncation_psi: float, reasons: bool = True) -> list[str]:
    """The notes under the table; with the reasons why claims were not tested, unless the table shows them."""
    count = int((~table.verdict.isin(UNTESTED)).sum())
    notes = [NOTE.format(claims=count, seeds=seeds_needed(count))]
    if ((table.raw_verdict != "") & (table.raw_verdict != table.verdict)).any():
        notes.append(RAW_NOTE)
    if (table.metric == PREFERENCE.name).any():
        notes.append(
            "Comparisons won: decided by realism (eval/metrics/realism.py); the paper asks people."
        )
    if truncation_psi != 1:
        notes.append(f"All images are generated at truncation {truncation_psi:g}.")
    for row in table[table.verdict.isin(UNTESTED)].itertuples() if reasons else ():
        notes.append(f"{row.verdict.capitalize()}: “{row.sentence}” Reason: {row.reason}.")
    return notes


def write(table: pd.DataFrame, world: str, prefix: str, truncation_psi: float = 1.0) -> None:
    """Write PREFIX.csv, .md and .html."""
    title = f"World {world}: the paper's claims"
    frame = shown(table)
    notes = notes_on(table, truncation_psi)
    body = frame.to_markdown(index=False, disable_numparse=True)
    files = {
        ".csv": table.round(6).to_csv(index=False, lineterminator="\n"),
        ".md": f"**{title}**\n\n{body}\n\n" + "".join(f"- {note}\n" for note in notes),
        ".html": page(title, html_frame(frame, notes, texts=3, prose=(0, frame.shape[1] - 1))),
    }
    for ending, content in files.items():
        with atomic_path(prefix + ending) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(f"wrote {prefix}.csv, .md and .html: {len(table)} claims")


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.claims", description=__doc__)
    parser.add_argument("--claims", required=True, help="the claims (YAML)")
    parser.add_argument("--scores", required=True, help="the table of scores of all groups (CSV)")
    parser.add_argument("--world", required=True, help="the world whose scores are used")
    parser.add_argument("--like", nargs="*", default=[], help="the worlds that it is like, the nearest first")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    parser.add_argument(
        "--truncation", type=float, default=1.0, help="truncation of the images, for a note (default: 1, none)"
    )
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.claims, arguments.scores])
    claims = read_claims(arguments.claims)
    table = read_scores(arguments.scores, raw=True)
    found = (Scores(table, arguments.world, raw, tuple(arguments.like)) for raw in (False, True))
    write(decide(claims, *found), arguments.world, arguments.out, arguments.truncation)


if __name__ == "__main__":
    sys.exit(main())
