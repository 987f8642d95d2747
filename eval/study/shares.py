"""What people prefer: shares of comparisons won, with intervals over raters, and rater agreement (§5.3).

    python -m eval.study.shares --answers ANSWERS.csv --out PREFIX

reads the answers that `python -m eval.study export` writes, and writes PREFIX.csv (one row per model), .md and
.html. The Pareto plot takes PREFIX.csv.

A rater is the unit: answers of one person are dependent. The share is that of all answers; its 95 % interval is
Wilson's for an effective number of answers. That number follows from the variance of the share between raters
(with n/(n-1) and a t quantile for few raters: Korn and Graubard 1998, for surveys of clusters). Raters who fail
an attention check are left out of all numbers but their own count.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.analysis.names import condition_title
from eval.analysis.statistics import CONFIDENCE
from eval.pages.rendering import page
from eval.study.answers import COLUMNS, SIDES
from eval.study.packages import study_packages
from eval.study.pairs import CHECK, KINDS, PAIR, REPEAT
from eval.study.shares_table import RESULT, read_table
from eval.table_formats import html_frame
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.base import CONDITION_KEYS

ENDINGS = (".csv", ".md", ".html")
TITLE = "What people prefer (two-alternative forced choice)"
DIGITS = 6  # decimals in the .csv


def read_answers(path) -> pd.DataFrame:
    """The exported answers. UserError: no such file, other columns, a wrong value, a question answered twice."""
    table = read_table(path, "python -m eval.study export makes it")
    if list(table.columns) != list(COLUMNS):
        raise UserError(f"{path}: not the answers of a study; the columns must be {', '.join(COLUMNS)}.")
    table["variant"] = table.variant.fillna("")
    allowed = {"kind": KINDS, "rival": SIDES, "choice": SIDES, "won": (0, 1)}
    for column, values in allowed.items():
        if (wrong := ~table[column].isin(values)).any():
            line = int(np.flatnonzero(wrong)[0]) + 2
            raise UserError(f"{path}, line {line}: '{column}' must be one of {', '.join(map(str, values))}.")
    expected = (table.choice == table.rival) ^ (table.kind == CHECK)
    if (wrong := expected != table.won.astype(bool)).any():
        line = int(np.flatnonzero(wrong)[0]) + 2
        raise UserError(f"{path}, line {line}: 'won' contradicts 'rival' and 'choice'; export the answers again.")
    if (twice := table.duplicated(["rater", "position"])).any():
        line = int(np.flatnonzero(twice)[0]) + 2
        raise UserError(f"{path}, line {line}: this rater answered that question before; keep one answer.")
    return table


# ---- numbers --------------------------------------------------------------------------------------


def attentive(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers of raters who failed no attention check."""
    failed = answers.rater[(answers.kind == CHECK) & (answers.won == 0)]
    return answers[~answers.rater.isin(failed)]


def rater_interval(won, of) -> tuple[float, float]:
    """The 95 % interval of Σ won / Σ of; `won` of `of` answers of each rater [n], independent between raters.

    (0, 1) for one rater, who says nothing about others. With equal shares of all raters, n answers count.
    """
    from scipy import stats

    with study_packages():
        from statsmodels.stats.proportion import proportion_confint

    won, of = np.asarray(won, dtype=float), np.asarray(of, dtype=float)
    n, share = len(of), won.sum() / of.sum()
    if n == 1:
        return 0.0, 1.0
    variance = n / (n - 1) * np.square(won - share * of).sum() / of.sum() ** 2
    if variance > 0:
        normal, student = (law.ppf((1 + CONFIDENCE) / 2) for law in (stats.norm, stats.t(n - 1)))
        effective = min(share * (1 - share) / variance, of.sum()) * (normal / student) ** 2
    else:
        effective = n
    low, high = proportion_confint(share * effective, effective, 1 - CONFIDENCE, method="wilson")
    return float(max(0.0, low)), float(min(1.0, high))


def shares(answers: pd.DataFrame) -> pd.DataFrame:
    """RESULT, one row per model in order of appearance: the share of its comparisons that it wins.

    answers: of `attentive` raters. people: who compared the model. low, high: `rater_interval`.
    """
    found = []
    for condition, part in answers[answers.kind == PAIR].groupby(list(CONDITION_KEYS), sort=False):
        of_each = part.groupby("rater").won.agg(["sum", "size"])
        interval = rater_interval(of_each["sum"], of_each["size"])
        found.append((*condition, len(of_each), len(part), float(part.won.mean()), *interval))
    return pd.DataFrame(found, columns=list(RESULT))


@dataclass(frozen=True)
class Quality:
    """How far answers can be trusted; None where nothing says so.

    excluded: raters who failed a check, of raters. alpha: Krippendorff's α between raters over pairs (1: all
    agree, 0: as by chance). same: share of repeated pairs with the same answer. left: share of left choices.
    """

    raters: int
    excluded: int
    alpha: float | None
    same: tuple[float, float, float] | None
    left: float | None


def quality(answers: pd.DataFrame) -> Quality:
    """The quality of all answers, attentive raters or not."""
    kept = attentive(answers)
    counted = kept[kept.kind == PAIR]
    first = counted.set_index(["rater", "pair"]).won
    again = kept[kept.kind == REPEAT].set_index(["rater", "pair"]).won
    both = pd.concat([first, again], axis=1, keys=["first", "again"]).dropna()
    same = None
    if len(both):
        equal = (both["first"] == both["again"]).groupby("rater").agg(["sum", "size"])
        share = float(equal["sum"].sum() / equal["size"].sum())
        same = (share, *rater_interval(equal["sum"], equal["size"]))
    raters = answers.rater.nunique()
    left = float((counted.choice == SIDES[0]).mean()) if len(counted) else None
    return Quality(raters, raters - kept.rater.nunique(), agreement(counted), same, left)


def agreement(counted: pd.DataFrame) -> float | None:
    """Krippendorff's α for nominal answers; raters may have seen different pairs.

    None: no pair has two raters, or all answers are equal.
    """
    with study_packages():
        import krippendorff

    table = counted.pivot(index="rater", columns="pair", values="won")
    table = table.loc[:, table.notna().sum() > 1]
    if table.size == 0 or np.unique(table.to_numpy()[table.notna().to_numpy()]).size < 2:
        return None
    return float(krippendorff.alpha(table.to_numpy(dtype=float), level_of_measurement="nominal"))


# ---- texts ----------------------------------------------------------------------------------------


def notes(table: pd.DataFrame, trust: Quality) -> list[str]:
    """Sentences below the table."""
    said = [
        f"{trust.raters} people answered; {trust.excluded} failed an attention check and are left out.",
        "A share is that of comparisons won against the preferred model; 0.5 is a draw.",
        "Intervals are 95 % intervals over raters for these pictures; they do not cover other pictures or seeds.",
    ]
    if trust.alpha is not None:
        said.append(f"Agreement between raters: Krippendorff's α = {trust.alpha:.2f} (1: all agree, 0: chance).")
    else:
        said.append("Agreement between raters is not defined: no pair has two different raters and answers.")
    if trust.same is not None:
        share, low, high = trust.same
        said.append(f"A pair shown twice, sides swapped, got the same answer in {share:.0%} [{low:.0%}, {high:.0%}].")
    if trust.left is not None:
        said.append(f"The left picture was chosen in {trust.left:.0%} of the comparisons.")
    return said


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: task, model, share with interval, people, answers."""
    names = [condition_title(row.method, row.variant, row.shots, row.warm_start) for row in table.itertuples()]
    won = [f"{row.won:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in table.itertuples()]
    columns = {"task": table.task, "model": names, "comparisons won": won}
    return pd.DataFrame(columns | {"people": table.people, "answers": table.answers}).astype(str)


def told(path) -> tuple[pd.DataFrame, list[str]]:
    """`shares` of a file of exported answers, and the sentences below them.

    UserError: see `read_answers`; or no attentive rater has compared anything.
    """
    answers = read_answers(path)
    table = shares(attentive(answers))
    if table.empty:
        raise UserError(f"{path}: no comparison by an attentive rater is there yet.")
    return table, notes(table, quality(answers))


def write(prefix: str, table: pd.DataFrame, said: list[str]) -> None:
    """Write PREFIX.csv, .md and .html."""
    shown = readable(table)
    texts = {
        ".csv": table.round(DIGITS).to_csv(index=False, lineterminator="\n"),
        ".md": f"**{TITLE}**\n\n{shown.to_markdown(index=False, disable_numparse=True)}\n\n"
        + "".join(f"- {note}\n" for note in said),
        ".html": page(TITLE, html_frame(shown, said)),
    }
    for ending, text in texts.items():
        with atomic_path(prefix + ending) as temporary:
            temporary.write_text(text, encoding="utf-8")


@command
def main(argv=None) -> None:
    """Command line of this module."""
    about = __doc__.split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m eval.study.shares", description=about)
    parser.add_argument("--answers", required=True, help="the exported answers (CSV)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.answers])
    table, said = told(arguments.answers)
    write(arguments.out, table, said)
    print(readable(table).to_string(index=False), *said, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
