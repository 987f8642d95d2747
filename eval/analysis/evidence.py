"""The evidence for one claim: one number per seed, or the reason why there is none.

A claim (an entry of claims.yaml) names a statistic of STATISTICS, which gives one difference per seed,
positive if it supports the claim. A claim is not testable in a world that lacks what it needs: a task, a
judge, reference images or a model. `NotTestable` says which.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from eval.analysis.names import condition_title
from eval.metrics.catalogue import metric, needs
from eval.score import LAST, RAW

BASELINE = "source"
#: The methods of Tables 1 and 2. An added method changes no claim.
FEW_SHOT = ("ojha", "minegan", "tgan", "tgan_ada")
HALF = 0.5
#: What a metric needs (`Metric.needs`), in words.
NEEDED = {
    "references": "reference images",
    "judge": "a judge of classes",
    "new_images": "real images that are new to the model",
    "held_out_clip": "a held-out CLIP and two texts for it",
}


class NotTestable(Exception):
    """Why the scores of a world cannot test a claim."""


@dataclass(frozen=True)
class Claim:
    """One entry of claims.yaml, whose head explains the keys. rest: the keys of its statistic."""

    name: str
    sentence: str
    where: str
    statistic: str
    metric: str
    direction: str
    margin: float
    rest: dict

    def dropped(self, lineage: tuple[str, ...]) -> str | None:
        """Why the claim is not tested in a world; None if it is tested.

        lineage: the world and those that it is `like`; the nearest that gives a reason decides.
        """
        reasons = self.rest.get("dropped", {})
        return next((reasons[name] for name in lineage if name in reasons), None)

    @property
    def sign(self) -> float:
        """1 if more of the metric supports the claim, else -1."""
        return 1.0 if self.direction == "higher" else -1.0


@dataclass(frozen=True)
class Evidence:
    """values: seed -> difference, positive if it supports the claim. tasks: those it was tested on."""

    values: pd.Series
    tasks: tuple[str, ...]


class Scores:
    """Scores of the final models of one world.

    raw: of the weights behind an average, for models that have them; else of the weights sampled from.
    like: the worlds that it is `like`, the nearest first.
    """

    def __init__(self, table: pd.DataFrame, world: str, raw: bool = False, like: tuple[str, ...] = ()):
        self.lineage = (world, *like)
        part = table[(table.world == world) & (table.step == LAST)]
        part = part.astype({"value": float, "shots": int})
        kept = part[part.weights != RAW]
        if raw:
            keys = ["task", "method", "variant", "shots", "warm_start", "seed", "metric"]
            behind = part[part.weights == RAW]
            kept = pd.concat([behind, kept]).drop_duplicates(keys)  # the first of each is kept
        self.table = kept

    def of(self, task, name, method, variant, shots=0, warm_start=BASELINE) -> pd.Series:
        """Values {seed: float} of a metric of one model. NotTestable: there are none, and why."""
        on_task = self.table[self.table.task == task]
        if on_task.empty:
            raise NotTestable(f"there is no task {task}")
        measured = on_task[on_task.metric == name]
        if measured.empty:
            needed = _lacking(name, set(on_task.metric))
            because = f" (it needs {needed})" if needed else ""
            raise NotTestable(f"{metric(name).label} is not measured on {task}{because}")
        rows = measured[
            (measured.method == method) & (measured.variant == variant)
            & (measured.shots == shots) & (measured.warm_start == warm_start)
        ]  # fmt: skip
        if rows.empty:
            model = condition_title(method, variant, shots, warm_start)
            raise NotTestable(f"{metric(name).label} of {model} is missing on {task}")
        return rows.set_index("seed").value


def _lacking(name: str, measured: set[str]) -> str:
    """What a metric needs and the task lacks: no other metric that needs it was measured either."""
    need = needs(name)
    if not need or need in map(needs, measured):
        return ""
    return NEEDED[need]


# ---- statistics on one task -----------------------------------------------------------------------


def better(claim: Claim, scores: Scores, task: str) -> pd.Series:
    """The smallest advantage of `ours` over any of `theirs`, so that every comparison must hold."""
    found = [
        (scores.of(task, claim.metric, **ours) - scores.of(task, claim.metric, **theirs))
        for ours in models(claim.rest["ours"])
        for theirs in rivals(claim)
    ]
    return paired(found).mul(claim.sign).min(axis=1)


def above(claim: Claim, scores: Scores, task: str) -> pd.Series:
    """The metric of `ours` minus `threshold`, in the claim's direction."""
    (ours,) = models(claim.rest["ours"])
    return (scores.of(task, claim.metric, **ours) - claim.rest["threshold"]) * claim.sign


def most(claim: Claim, scores: Scores, task: str) -> pd.Series:
    """The share of `theirs` whose metric is beyond `threshold`, minus one half."""
    found = [scores.of(task, claim.metric, **model) for model in rivals(claim)]
    beaten = paired(found).sub(claim.rest["threshold"]).mul(claim.sign) > 0
    return beaten.mean(axis=1) - HALF


def front(claim: Claim, scores: Scores, task: str) -> pd.Series:
    """+1/2 in a seed in which none of `theirs` beats `ours` in both metrics, else -1/2.

    A model beats ours in the first metric (comparisons won against ours) if it is on the side of
    `threshold` opposite to the claim's direction, and in the metric `second` if its value is larger.
    """
    (ours,) = models(claim.rest["ours"])
    level = scores.of(task, claim.rest["second"], **ours)
    found = []
    for model in rivals(claim):
        first = claim.rest["threshold"] - scores.of(task, claim.metric, **model)
        second = scores.of(task, claim.rest["second"], **model) - level
        both = paired([first * claim.sign, second])
        found.append((both > 0).all(axis=1).astype(float))
    return HALF - paired(found).max(axis=1)


def steadiest(claim: Claim, scores: Scores, task: str) -> pd.Series:
    """The number of methods whose FID the warm start `ours` improves, minus the largest such number
    of any of `theirs`; 0 is a tie."""

    def won(start: str) -> pd.Series:
        gains = [
            gain for n in claim.rest["shots"] for gain in gains_of(claim, scores, task, n, start)
        ]
        return (paired(gains) > 0).sum(axis=1)

    others = paired([won(start) for start in claim.rest["theirs"]]).max(axis=1)
    return (won(claim.rest["ours"]) - others).dropna()


def cells(claim: Claim, scores: Scores) -> pd.Series:
    """The number of `cells` whose FID the warm start improves, minus (`at_least` - 1/2).

    With the half, `at_least` cells support the claim and one fewer contradicts it: no tie is possible.
    `at_least` defaults to more than half of the cells.
    """
    gains = [
        gain
        for entry in claim.rest["cells"]
        for task in entry["tasks"]
        for shots in entry["shots"]
        for start in entry["warm_starts"]
        for gain in gains_of(claim, scores, task, shots, start)
    ]
    wanted = claim.rest.get("at_least", len(gains) // 2 + 1)
    return (paired(gains) > 0).sum(axis=1) - (wanted - HALF)


#: Statistics of one task, by name. Only `cells` is about several tasks at once.
ON_A_TASK: dict[str, Callable] = {
    "better": better, "above": above, "most": most, "front": front, "steadiest": steadiest,
}  # fmt: skip
#: Every statistic, and the keys that its entry needs.
STATISTICS = {
    "better": ("tasks", "ours", "theirs"),
    "above": ("tasks", "ours", "threshold"),
    "most": ("tasks", "theirs", "threshold"),
    "front": ("tasks", "ours", "theirs", "threshold", "second"),
    "steadiest": ("tasks", "shots", "ours", "theirs"),
    "cells": ("cells",),
}


def evidence(claim: Claim, scores: Scores) -> Evidence:
    """One number per seed that has all models compared; positive if it supports the claim.

    Tasks on which the world cannot test the claim are left out; the smallest number over the other
    tasks counts. NotTestable: no task is left, or no seed has all models.
    """
    if claim.statistic == "cells":
        tasks = dict.fromkeys(task for entry in claim.rest["cells"] for task in entry["tasks"])
        found = Evidence(cells(claim, scores), tuple(tasks))
    else:
        on, reasons = {}, []
        for task in claim.rest["tasks"]:
            try:
                on[task] = ON_A_TASK[claim.statistic](claim, scores, task)
            except NotTestable as reason:
                reasons.append(str(reason))
        if not on:
            raise NotTestable("; ".join(dict.fromkeys(reasons)))
        found = Evidence(paired(list(on.values())).min(axis=1), tuple(on))
    if found.values.empty:
        raise NotTestable("no seed has all models that it compares")
    return found


def models(entry: dict) -> Iterator[dict]:
    """The models of an entry {method, variant, shots}, one per number of shots."""
    for shots in entry.get("shots", [0]):
        yield {"method": entry["method"], "variant": entry["variant"], "shots": shots}


def rivals(claim: Claim) -> list[dict]:
    """All the models of `theirs`."""
    return [model for entry in claim.rest["theirs"] for model in models(entry)]


def gains_of(claim: Claim, scores: Scores, task: str, shots: int, start: str) -> list[pd.Series]:
    """Gain in FID of a warm start over none, {seed: float} for each few-shot method; positive is better."""
    return [
        claim.sign
        * (
            scores.of(task, claim.metric, method, "plain", shots, start)
            - scores.of(task, claim.metric, method, "plain", shots)
        )
        for method in FEW_SHOT
    ]


def paired(columns: list[pd.Series]) -> pd.DataFrame:
    """The seeds that all the columns have."""
    return pd.concat(columns, axis=1).dropna()
