"""The paper's sentences, tested: each claim gets a verdict, holds, fails or undecided.

    python -m eval.claims --claims claims.yaml --scores scores.csv --world mini --out PREFIX

writes PREFIX.csv, .md and .html. What is tested, and how, stands in claims.yaml, which is committed
before the first full run; the test itself is `eval.statistics.verdicts`.
"""

import argparse
import html
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from eval.metrics import metric
from eval.page import PAGE, heads, items, rows
from eval.paper_table import METHODS
from eval.score import LAST, read_scores
from eval.statistics import LEAST_SEEDS, UNDECIDED, seeds_needed, verdicts
from nada.atomic import atomic_path
from nada.errors import UserError, command
from nada.outputs import check_outputs

STATISTICS = ("better", "above", "cells", "steadiest")
DROPPED = "dropped"
BASELINE = "source"
FEW_SHOT = tuple(METHODS)  # those of Tables 1 and 2


@dataclass(frozen=True)
class Claim:
    """One entry of claims.yaml; see its head for the keys."""

    name: str
    sentence: str
    where: str
    statistic: str
    metric: str
    direction: str
    margin: float
    rest: dict

    def dropped(self, world: str) -> str | None:
        """Why the claim is not tested in a world; None where it is."""
        return self.rest.get("dropped", {}).get(world)


def read_claims(path) -> list[Claim]:
    """Read claims.yaml; UserError names the entry and what is wrong with it."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file of claims.") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a mapping with the key 'claims' is wanted ({error}).") from None
    claims = []
    for name, entry in entries.items():
        wanted = ("sentence", "where", "statistic", "metric", "direction", "margin")
        missing = [key for key in wanted if key not in entry]
        if missing:
            raise UserError(f"{path}: the claim '{name}' lacks the key '{missing[0]}'.")
        if entry["statistic"] not in STATISTICS:
            raise UserError(
                f"{path}: the claim '{name}' has the statistic '{entry['statistic']}'; it must be"
                f" one of {', '.join(STATISTICS)}."
            )
        if entry["direction"] not in ("higher", "lower"):
            raise UserError(f"{path}: the direction of '{name}' must be 'higher' or 'lower'.")
        metric(entry["metric"])
        if not isinstance(entry.get("dropped", {}), dict):
            raise UserError(f"{path}: 'dropped' of '{name}' must name worlds and reasons.")
        rest = {key: value for key, value in entry.items() if key not in wanted}
        claims.append(Claim(name, *(entry[key] for key in wanted), rest))
    return claims


class Scores:
    """Last scores of one world, one metric at a time: values by seed."""

    def __init__(self, table: pd.DataFrame, world: str):
        self.world = world
        part = table[(table.world == world) & (table.step == LAST)]
        self.table = part.astype({"value": float, "shots": int})

    def of(self, task, name, method, variant, shots=0, warm_start=BASELINE) -> pd.Series:
        """Values [seed -> float]; empty where nothing was scored."""
        t = self.table
        rows = t[
            (t.task == task) & (t.metric == name) & (t.method == method) & (t.variant == variant)
            & (t.shots == shots) & (t.warm_start == warm_start)
        ]  # fmt: skip
        return rows.drop_duplicates("seed").set_index("seed").value


def differences(claim: Claim, scores: Scores) -> pd.Series:
    """One number per seed that has everything the claim compares; more speaks for the claim."""
    sign = 1.0 if claim.direction == "higher" else -1.0
    rest, name = claim.rest, claim.metric

    def models(entry: dict):
        for shots in entry.get("shots", [0]):
            yield {"method": entry["method"], "variant": entry["variant"], "shots": shots}

    if claim.statistic == "above":
        (ours,) = models(rest["ours"])
        found = [scores.of(task, name, **ours) - rest["threshold"] for task in rest["tasks"]]
    elif claim.statistic == "better":
        found = [
            scores.of(task, name, **ours) - scores.of(task, name, **theirs)
            for task in rest["tasks"]
            for ours in models(rest["ours"])
            for entry in rest["theirs"]
            for theirs in models(entry)
        ]
    elif claim.statistic == "cells":
        gains = [
            gain
            for cells in rest["cells"]
            for task in cells["tasks"]
            for shots in cells["shots"]
            for start in cells["warm_starts"]
            for gain in gains_of(scores, name, task, shots, start)
        ]
        won = pd.concat(gains, axis=1).dropna() * sign > 0
        return won.mean(axis=1) - 0.5
    else:

        def won(start: str) -> pd.Series:
            (task,), (shots,) = rest["tasks"], rest["shots"]
            gains = pd.concat(gains_of(scores, name, task, shots, start), axis=1).dropna()
            return (gains * sign > 0).sum(axis=1)

        rivals = pd.concat([won(start) for start in rest["theirs"]], axis=1).dropna().max(axis=1)
        return (won(rest["ours"]) - rivals).dropna()
    # every comparison must hold, so the least of them decides
    return (pd.concat(found, axis=1).dropna() * sign).min(axis=1)


def gains_of(scores: Scores, name: str, task: str, shots: int, start: str) -> list[pd.Series]:
    """Warm start minus baseline by seed, for each few-shot method."""
    return [
        scores.of(task, name, method, "plain", shots, start)
        - scores.of(task, name, method, "plain", shots)
        for method in FEW_SHOT
    ]


def decide(claims: list[Claim], scores: Scores) -> pd.DataFrame:
    """One row per claim: verdict, mean, half_width, seeds, p, and why it was dropped, if it was.

    A claim that has not been run is undecided with 0 seeds, and counts in Holm's correction.
    """
    tested = [claim for claim in claims if not claim.dropped(scores.world)]
    found = {claim.name: differences(claim, scores) for claim in tested}
    known = [claim for claim in tested if len(found[claim.name])]
    compared = [(found[claim.name].to_numpy(), claim.margin) for claim in known]
    decided = verdicts(compared, of=len(tested)) if known else []
    by_claim = dict(zip([claim.name for claim in known], decided, strict=True))
    rows = []
    for claim in claims:
        why = claim.dropped(scores.world)
        values = (DROPPED if why else UNDECIDED, None, None, 0, None)
        if verdict := by_claim.get(claim.name):
            p = verdict.p if verdict.n >= LEAST_SEEDS else None
            values = (verdict.outcome, verdict.mean, verdict.half_width, verdict.n, p)
        about = (claim.name, claim.sentence, claim.where, claim.metric, claim.margin)
        rows.append((*about, *values, why or ""))
    columns = ["claim", "sentence", "where", "metric", "margin"]
    columns += ["verdict", "mean", "half_width", "seeds", "p", "why_dropped"]
    return pd.DataFrame(rows, columns=columns)


NOTE = (
    "The number is the least advantage over all comparisons of the claim, per seed, positive where"
    " it speaks for the claim (claims.yaml says of what). Exact sign-flip test over paired seeds,"
    " Holm-corrected over all claims that are not dropped, run or not ({claims} here): fewer than {seeds}"
    " seeds cannot decide any."
)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people."""

    def number(row) -> str:
        if row.verdict == DROPPED:
            return "–"
        if row.seeds == 0:
            return "not run"
        spread = f" ± {row.half_width:.3f}" if pd.notna(row.half_width) else ""
        return f"{row['mean']:+.3f}{spread}"

    return pd.DataFrame(
        {
            "claim": table.sentence,
            "verdict": table.verdict,
            "least advantage": [number(row) for _, row in table.iterrows()],
            "p": ["–" if pd.isna(p) else f"{p:.2g}" for p in table.p],
            "seeds": table.seeds,
            "by": [metric(name).label for name in table.metric],
            "where": table["where"],
        }
    )


ENDINGS = (".csv", ".md", ".html")  # of the files that `write` writes


def write(table: pd.DataFrame, world: str, prefix: str) -> None:
    """Write PREFIX.csv, .md and .html."""
    title = f"World {world}: the paper's claims"
    frame = shown(table)
    count = int((table.verdict != DROPPED).sum())
    notes = [NOTE.format(claims=count, seeds=seeds_needed(count))]
    notes += [f"Dropped: {why}." for why in dict.fromkeys(table.why_dropped) if why]
    body = frame.to_markdown(index=False, disable_numparse=True)
    files = {
        ".csv": table.round(6).to_csv(index=False, lineterminator="\n"),
        ".md": f"**{title}**\n\n{body}\n\n" + "".join(f"- {note}\n" for note in notes),
        ".html": PAGE.format(
            title=html.escape(title),
            head=heads(frame.columns),
            body=rows(frame.map(lambda cell: html.escape(str(cell)))),
            notes=items(notes),
        ),
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
    parser.add_argument("--scores", required=True, help="the scores of all groups (CSV)")
    parser.add_argument("--world", required=True, help="the world whose scores count")
    parser.add_argument("--out", required=True, help="names to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.claims, arguments.scores])
    claims = read_claims(arguments.claims)
    table = decide(claims, Scores(read_scores(arguments.scores), arguments.world))
    write(table, arguments.world, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
