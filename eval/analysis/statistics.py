"""Means, intervals and verdicts over seeds: exact tests of paired differences, Holm-corrected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nada.run.errors import UserError

#: Coverage of every interval in tables and figures.
CONFIDENCE = 0.95
#: A claim holds if its corrected p value is at most this.
ALPHA = 0.05
#: Fewer paired seeds decide nothing: with four, no exact test reaches 0.05.
LEAST_SEEDS = 5
#: With more paired seeds there are too many choices of signs to count (two lists of 2^20 sums).
MOST_SEEDS = 40
HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"


def t_interval(values, confidence: float = CONFIDENCE) -> tuple[float, float | None]:
    """Mean and half-width of Student's t interval for the mean of independent values.

    values: one number per seed. Half-width: t_{n-1, (1+c)/2} · s / √n with the unbiased s, in the
    values' unit; None when n = 1. ValueError when there is no value or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"values: one or more finite numbers expected, got {values}")
    n = len(values)
    if n == 1:
        return float(values[0]), None
    quantile = stats.t.ppf((1 + confidence) / 2, df=n - 1)
    return float(values.mean()), float(quantile * values.std(ddof=1) / np.sqrt(n))


# ---- verdicts over paired seeds -------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    outcome: HOLDS (p <= ALPHA), FAILS (the same test of the opposite claim has p <= ALPHA), else
    UNDECIDED; with fewer than LEAST_SEEDS pairs always UNDECIDED. p, p_opposite: after Holm's
    correction over the claims that were decided together. mean, half_width: `t_interval` of the
    differences. n: paired seeds.
    """

    outcome: str
    p: float
    p_opposite: float
    mean: float
    half_width: float | None
    n: int


def sign_flip_p(differences, alternative: str = "greater") -> float:
    """Exact p value of a sign-flip test on paired differences, one per seed.

    H0: the differences are symmetric around 0. The statistic is their mean, and all 2^n choices of
    signs are counted; values that differ by rounding alone count as equal. With n seeds p is at
    least 2^-n (alternative "greater": mean > 0, or "less") or 2^(1-n) ("two-sided"): five seeds
    give 0.031 and 0.0625. ValueError: no difference, or one that is not finite. UserError: more than
    MOST_SEEDS.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or len(d) == 0 or not np.isfinite(d).all():
        raise ValueError(f"differences: one or more finite numbers expected, got {d}")
    if len(d) > MOST_SEEDS:
        raise UserError(
            f"sign-flip test: {len(d)} paired seeds are too many to count every choice of signs; use"
            f" {MOST_SEEDS} seeds or fewer."
        )
    first, second = signed_sums(d[::2]), np.sort(signed_sums(d[1::2]))
    rounding, choices = 1e-12 * np.abs(d).sum(), float(len(first) * len(second))
    # each sum is one of the first list plus one of the second: count them without forming all
    below = np.searchsorted(second, d.sum() - rounding - first, side="left").sum()
    not_above = np.searchsorted(second, d.sum() + rounding - first, side="right").sum()
    at_least, at_most = 1 - below / choices, not_above / choices
    if alternative == "two-sided":
        return min(1.0, 2 * min(at_least, at_most))
    return {"greater": at_least, "less": at_most}[alternative]


def signed_sums(values: np.ndarray) -> np.ndarray:
    """The sums [2^n] of n values under every choice of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p_values) -> np.ndarray:
    """Holm's step-down correction (1979): p values of m claims, adjusted, in the given order.

    The i-th smallest becomes max over j <= i of min(1, (m - j + 1) p_(j)); the chance of any wrong
    "holds" among the m stays below ALPHA when each adjusted value is compared with it.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return adjusted


def seeds_needed(claims: int) -> int:
    """The fewest paired seeds that can decide one of so many claims.

    If all n differences agree, p = 2^-n; times the number of claims it must be ALPHA or less. At least
    LEAST_SEEDS.
    """
    return max(LEAST_SEEDS, math.ceil(math.log2(max(1, claims) / ALPHA)))


def verdicts(claims: Sequence[tuple[Sequence[float], float]]) -> list[Verdict]:
    """Decide claims together; each (differences, margin) claims "mean difference > -margin".

    differences: one per paired seed, signed so that more is better. margin: 0 claims "better", more than
    0 "as good as". Holm's correction counts all claims, in each direction.
    """
    shifted = [np.asarray(d, dtype=np.float64) + margin for d, margin in claims]
    p = holm([sign_flip_p(d, "greater") for d in shifted])
    opposite = holm([sign_flip_p(d, "less") for d in shifted])
    found = []
    for (differences, _), holds, fails in zip(claims, p, opposite, strict=True):
        outcome = UNDECIDED
        if len(differences) >= LEAST_SEEDS and min(holds, fails) <= ALPHA:
            outcome = HOLDS if holds <= ALPHA else FAILS
        interval = t_interval(differences)
        found.append(Verdict(outcome, float(holds), float(fails), *interval, len(differences)))
    return found
