"""Compare the scores and claims of a fresh run with the published ones: `make check`.

    python -m workflow.check --results results/full
    python -m workflow.check --results results/full --groups ablation      # a run of some groups alone
    python -m workflow.check --results unpacked/mini                       # of another machine's publication.zip

Each number is a mean over seeds with its 95 % interval. It differs if the published mean lies outside the new
interval and the new mean outside the published one. The command prints what differs and what is missing, and
then ends with exit code 1; with 2 if the two runs cannot be compared.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval.analysis.names import condition_title
from eval.analysis.statistics import t_interval
from eval.metrics.catalogue import metric
from eval.score import LAST, RAW, read_scores
from nada.run.errors import UserError, command
from nada.run.spec.base import REAL
from workflow.publication import ABOUT, About, about_published, about_results

CONDITION = ["task", "method", "variant", "shots", "warm_start"]
KEYS = [*CONDITION, "weights", "metric"]
#: Differences up to this share of the larger mean, or up to one image of those measured, are rounding: another
#: processor computes other last digits (docs/precision.md).
ROUNDING = 0.01
AGREES, PARTLY, DIFFERS, MISSING, ALONE = "agrees", "partly", "differs", "missing", "alone"
SHOWN = 30  # lines for each kind of number


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the half-width of its 95 % interval, None where one seed gives none."""

    mean: float
    half_width: float | None
    images: int = 0  # behind a value; 0 for a claim

    def __str__(self):
        spread = f" ± {self.half_width:.3g}" if self.half_width is not None else ""
        return f"{self.mean:.4g}{spread}"


def compared(new: Interval, old: Interval) -> str:
    """AGREES: each mean lies in the other's interval. DIFFERS: neither. PARTLY: one. ALONE: no interval."""
    if new.half_width is None or old.half_width is None:
        return ALONE
    rounding = ROUNDING * max(abs(new.mean), abs(old.mean))
    if images := min(new.images, old.images):
        rounding = max(rounding, 1 / images)
    gap = abs(new.mean - old.mean)
    inside = [gap <= max(side.half_width, rounding) for side in (new, old)]
    return AGREES if all(inside) else PARTLY if any(inside) else DIFFERS


# ---- what is compared -------------------------------------------------------------------------------


def numbers(table: pd.DataFrame) -> dict[str, Interval]:
    """{name of a number: its interval} of the final models in a table of scores.

    The reference images have no seeds: a single value of theirs is exact but for rounding.
    """
    found = {}
    for key, part in table[table.step == LAST].groupby(KEYS, sort=False):
        mean, half_width = t_interval(part.value.astype(float))
        if half_width is None and key[1] == REAL:
            half_width = 0.0
        found[named(*key)] = Interval(mean, half_width, int(part.n.astype(float).min()))
    return found


def named(task, method, variant, shots, warm_start, weights, name) -> str:
    """The name of a number, for a person: task, model, metric."""
    model = "real images" if method == REAL else condition_title(method, variant, int(shots), warm_start)
    try:
        label = metric(name).label
    except UserError:  # of an older version
        label = name
    return f"{task}, {model}: {label}" + (", raw weights" if weights == RAW else "")


def claims(folder: Path) -> tuple[dict[str, Interval], dict[str, str]]:
    """({claim: interval of its advantage}, {claim: verdict}) of a folder; claims without a number are left out."""
    file = folder / "claims.csv"
    try:
        table = pd.read_csv(file)
        rows = list(zip(table.claim, table["mean"], table.half_width, table.verdict, strict=True))
    except (OSError, ValueError, KeyError, AttributeError):
        raise UserError(f"{file}: no table of claims; make it: snakemake claims.") from None
    found = {
        f"claim {name}": Interval(mean, None if math.isnan(half_width) else half_width)
        for name, mean, half_width, _ in rows
        if not math.isnan(mean)
    }
    return found, {f"claim {name}": verdict for name, _, _, verdict in rows}


def scores(folder: Path, groups: list[str] | None) -> pd.DataFrame:
    """The scores of a folder, those of raw weights included; with groups, of these alone."""
    files = [folder / f"scores/{group}.csv" for group in groups] if groups else [folder / "scores.csv"]
    return pd.concat([read_scores(file, raw=True) for file in files]).drop_duplicates()


def about(folder: Path, groups: list[str] | None) -> About:
    """What a folder holds: a run's results, or an unpacked archive."""
    return about_published(folder) if (folder / ABOUT).is_file() else about_results(folder, groups)


# ---- may they be compared? --------------------------------------------------------------------------


def check_comparable(new: Path, old: Path, of_new: About, of_old: About) -> None:
    """Raise UserError, in one sentence, if two runs cannot be compared: worlds, presets, or a single seed."""
    if of_new.world != of_old.world:
        raise UserError(
            f"{new} is of the world '{of_new.world}' and {old} of '{of_old.world}': their numbers are not "
            "comparable; name another folder with --published."
        )
    if of_new.preset != of_old.preset and (why := other_hyperparameters(new, old)):
        raise UserError(
            f"{new} was made with the preset '{of_new.preset}' and {old} with '{of_old.preset}', and they have "
            f"{why}, so their numbers are not comparable; run snakemake all --config preset={of_old.preset}."
        )
    for folder, about in ((new, of_new), (old, of_old)):
        if len(about.seeds) < 2:
            raise UserError(
                f"{folder} has one seed, and an interval needs two or more; run more seeds, such as "
                "snakemake all --config preset=full, and check that folder."
            )


def other_hyperparameters(new: Path, old: Path) -> str:
    """What differs between the hyperparameters of the runs that two folders share; empty if nothing.

    Runs of both folders with one id are compared by their run.json. "no run in common" if there is none.
    """
    shared, changed = 0, {}
    for record in sorted(old.glob("runs/*/*/*/run.json")):
        name = record.parent.relative_to(old / "runs").as_posix()
        if (other := new / "runs" / name / "run.json").is_file():
            shared += 1
            values = [flat(json.loads(file.read_text(encoding="utf-8"))) for file in (other, record)]
            for key in values[0].keys() | values[1].keys():
                if values[0].get(key) != values[1].get(key):
                    changed.setdefault(key, (name, values[0].get(key), values[1].get(key)))
    if not changed:
        return "" if shared else "no run in common"
    key = min(changed)
    name, ours, theirs = changed[key]
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"other hyperparameters ({key}{more}: {ours} in place of {theirs} in {name})"


def flat(record: dict) -> dict:
    """{dotted name: value} of the hyperparameters in a run's record."""

    def walk(value, name):
        if isinstance(value, dict):
            return {key: v for part in value for key, v in walk(value[part], [*name, part]).items()}
        return {".".join(name): value}

    return walk(record.get("spec", {}).get("hyperparameters", {}), [])


# ---- the command ------------------------------------------------------------------------------------


def outcomes(new: dict[str, Interval], old: dict[str, Interval]) -> dict[str, list[str]]:
    """{outcome: names} of the published numbers; MISSING: the new run lacks it."""
    found = {kind: [] for kind in (AGREES, PARTLY, DIFFERS, MISSING, ALONE)}
    for name, published in old.items():
        found[compared(new[name], published) if name in new else MISSING].append(name)
    return found


def report(what: str, new: dict[str, Interval], old: dict[str, Interval]) -> tuple[list[str], bool]:
    """(lines for a person, whether all published numbers were found and none differs)."""
    found = outcomes(new, old)
    parts = [
        f"{len(found[AGREES])} agree",
        f"{len(found[PARTLY])} lie in one of the two intervals only",
        f"{len(found[DIFFERS])} differ",
        f"{len(found[MISSING])} are missing",
    ]
    if found[ALONE]:
        parts.append(f"{len(found[ALONE])} have no interval and are not compared")
    lines = [f"{len(old)} published {what}: {', '.join(parts)}"]
    shown = [f"  differs: {name} is {new[name]}, published {old[name]}" for name in found[DIFFERS]]
    lines += _first(shown)
    lines += _first([f"  missing: {name}, published {old[name]}" for name in found[MISSING]])
    if extra := len(new.keys() - old.keys()):
        lines.append(f"  {extra} new {what} are not published")
    return lines, not (found[DIFFERS] or found[MISSING])


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"  … and {more} more"] if more > 0 else lines


def check(new: Path, old: Path, groups: list[str] | None = None, say=print) -> bool:
    """Compare two folders and print the result; whether the new run confirms the published one."""
    of_old = about_published(old)
    if of_old is None:
        raise UserError(f"{old}: nothing is published there; name a published folder with --published.")
    of_new = about(new, groups)
    check_comparable(new, old, of_new, of_old)
    say(f"{new} (seeds {_listed(of_new.seeds)}) against {old} (seeds {_listed(of_old.seeds)}), world {of_new.world}")
    if of_new.device != of_old.device:
        say(f"note: computed on {of_new.device}, published on {of_old.device}")
    if of_new.preset == of_old.preset and (changed := other_hyperparameters(new, old)):
        say(f"note: the new runs have {changed}")
    fresh, published = scores(new, groups), scores(old, None)
    if groups:
        ours = fresh[CONDITION].astype(str).agg(" ".join, axis=1)
        published = published[published[CONDITION].astype(str).agg(" ".join, axis=1).isin(set(ours))]
    lines, confirmed = report("numbers", numbers(fresh), numbers(published))
    if not groups:
        (new_claims, new_verdicts), (old_claims, old_verdicts) = claims(new), claims(old)
        more, alike = report("claims", new_claims, old_claims)
        changed = [n for n in old_verdicts if n in new_verdicts and new_verdicts[n] != old_verdicts[n]]
        more += [f"  verdict of {n}: {new_verdicts[n]}, published: {old_verdicts[n]}" for n in changed]
        lines, confirmed = [*lines, *more], confirmed and alike
    say("\n".join(lines))
    say("confirmed: no published number differs" if confirmed else f"not confirmed: {HINT}")
    return confirmed


#: The share is computed for two runs of eight seeds (tests/workflow/test_check.py).
HINT = (
    "the lines above say what differs or is missing. Of two independent runs about 8 of 100 numbers differ by "
    "chance (docs/precision.md)."
)


def _listed(seeds: list[int]) -> str:
    whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


@command
def main(argv=None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m workflow.check", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/full"), help="a finished run, or an unpacked archive of one")
    parser.add_argument("--published", type=Path, help="default: results/published/<world of the run>")
    parser.add_argument("--groups", nargs="+", help="compare only these groups, and no claim")
    arguments = parser.parse_args(argv)
    results, groups = arguments.results, arguments.groups
    published = arguments.published or Path("results/published", about(results, groups).world)
    return 0 if check(results, published, groups) else 1


if __name__ == "__main__":
    sys.exit(main())
