"""Does an edit that was found on the source do the same on an adapted model (Gal et al. 2021, §5.2, Fig. 9)?

The same codes are edited with several strengths and drawn by both models; a judge estimates the factors of
every picture. A factor's slope is its change per unit of edit, in standard deviations of the source's
unedited pictures. Three scores follow: the slope of the factor that the edit is for, in both models; their
ratio, 1 where the edit keeps its effect; and the leakage, the mean |slope| of the other factors over that
of the one asked for. Intervals are bootstraps over codes, which both models share. No torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from eval.latent_space.intervals import UNDEFINED, Estimate, bootstrap, resampled_means
from eval.latent_space.slopes import code_slopes, leakage
from eval.metrics.correspondence import CONSTANT_BELOW, group_of
from eval.metrics.metric import Metric, Value
from nada.run.errors import UserError

EDIT_SLOPE = Metric("edit_slope", "slope of the edit", "σ", maximize=None, digits=3, needs="judge")
EDIT_KEPT = Metric("edit_kept", "slope / source's slope", "", maximize=None, digits=2, needs="judge")
EDIT_LEAKAGE = Metric("edit_leakage", "leakage", "", maximize=False, digits=2, needs="judge")
METRICS = (EDIT_SLOPE, EDIT_KEPT, EDIT_LEAKAGE)

#: Codes of which fewer give no interval.
LEAST_CODES = 2


@dataclass(frozen=True)
class EditScores:
    """The scores of one edit on one adapted model.

    source_slope, target_slope: of the factor asked for, in σ of the source per unit of edit. kept:
    target_slope / source_slope; undefined where the interval of the source's slope holds 0, since the
    edit then does nothing that could be kept. source_leakage, target_leakage: 0 or more; undefined where
    the interval of that model's slope holds 0. source_slopes, target_slopes: means over codes of every
    factor [F]; NaN for a factor that does not vary in the source. codes: their number.
    """

    source_slope: Estimate
    target_slope: Estimate
    kept: Estimate
    source_leakage: Estimate
    target_leakage: Estimate
    source_slopes: np.ndarray
    target_slopes: np.ndarray
    codes: int


def edit_scores(
    strengths: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    factor: int,
    others: list[int],
    seed: int,
    name: str = "the edit",
) -> EditScores:
    """The scores of an edit from the factors that the judge read.

    strengths: [S], 0 among them. source, target: factors [S,n,F] of the source's and the adapted
    model's pictures of the same codes. factor: the index of the one asked for; others: those that it
    should leave alone (`other_factors`); those that do not vary in the source are left out. seed: of the
    bootstrap. name: the edit's, in messages.
    UserError: without strength 0, with fewer than two codes, with factors that are not finite, or if the
    factor asked for does not vary in the source. ValueError: shapes that do not fit.
    """
    strengths = np.asarray(strengths, dtype=np.float64)
    source, target = (np.asarray(f, dtype=np.float64) for f in (source, target))
    if source.shape != target.shape or source.ndim != 3:
        raise ValueError(f"factors: equal [S,n,F] expected, got {source.shape}, {target.shape}")
    unedited = np.flatnonzero(strengths == 0)
    if len(unedited) == 0:
        raise UserError(f"{name}: the strengths {strengths.tolist()} lack 0, the unedited picture; add it.")
    codes = source.shape[1]
    if codes < LEAST_CODES:
        raise UserError(f"{name}: {codes} codes were edited; give {LEAST_CODES} or more.")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise UserError(f"{name}: the judge's factors are not finite.")
    # slopes in standard deviations of the unedited source
    spread = source[unedited[0]].std(axis=0)
    varies = spread >= CONSTANT_BELOW
    if not varies[factor]:
        raise UserError(f"{name}: the factor asked for does not vary in the source's pictures.")
    spread = np.where(varies, spread, np.nan)
    slopes = [code_slopes(strengths, factors) / spread for factors in (source, target)]  # [n,F] each
    others = [other for other in others if varies[other]]

    # one seed: the same resampled codes in both models
    in_source, in_target = (_interval(slope[:, factor], seed) for slope in slopes)
    kept = UNDEFINED
    if in_source.excludes_zero:
        pair = np.stack([slope[:, factor] for slope in slopes], axis=1)  # [n,2]
        kept = _interval(pair, seed, lambda means: means[..., 1] / means[..., 0])
    leakages = []
    for slope, estimate in zip(slopes, (in_source, in_target), strict=True):
        found = UNDEFINED
        if estimate.excludes_zero and others:
            found = _interval(slope, seed, lambda means: leakage(means, factor, others))
        leakages.append(found)
    means = [slope.mean(axis=0) for slope in slopes]
    return EditScores(in_source, in_target, kept, *leakages, *means, codes)


def other_factors(names: list[str], factor: str) -> list[int]:
    """Indices of the factors that an edit of `factor` should leave alone.

    All but itself and, for a channel of a colour (fur_r), the other channels of that colour: an edit of
    a colour moves all three. UserError: the judge does not estimate `factor`.
    """
    if factor not in names:
        raise UserError(f"factor '{factor}': the judge estimates {', '.join(names)}.")
    colour = group_of(factor)
    same = {name for name in names if colour != "pose" and group_of(name) == colour}
    return [i for i, name in enumerate(names) if name != factor and name not in same]


def values(scores: EditScores) -> Iterator[Value]:
    """The metrics of the adapted model; those that are not defined are left out."""
    found = (EDIT_SLOPE, scores.target_slope), (EDIT_KEPT, scores.kept), (EDIT_LEAKAGE, scores.target_leakage)
    for metric, estimate in found:
        if np.isfinite(estimate.value):
            yield Value(metric, estimate.value, scores.codes)


def _interval(slopes: np.ndarray, seed: int, of_means: Callable = np.asarray) -> Estimate:
    """A function of the mean slopes over codes, with its interval. slopes: [n], or [n,F] for means [...,F]."""
    return bootstrap(lambda rows: of_means(resampled_means(slopes, rows)), len(slopes), seed=seed)
