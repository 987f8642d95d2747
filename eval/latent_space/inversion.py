"""Scores of inversion (Gal et al. 2021, §5.2, Figs. 8 and 18): is a picture's code the picture?

Reconstruction: how near the inverted image is to the input. Identity: whether it is still that picture
among others, and whether its factors are. Editability: whether an edit moves inverted codes as it moves
codes of the mapping network (Tov et al. 2021, "distortion-editability tradeoff"). Cost: seconds a picture.

Every score has an interval over pictures, by the bootstrap; pictures are independent, methods and domains
that see the same pictures are not, so their difference needs paired values (`paired_difference`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.analysis.statistics import CONFIDENCE
from eval.metrics.correspondence import CONSTANT_BELOW, factor_correlations
from eval.metrics.metric import Metric

RECONSTRUCTION_L2 = Metric("inversion_l2", "L2 of inversion", "", maximize=False, digits=4)
RECONSTRUCTION_LPIPS = Metric("inversion_lpips", "LPIPS of inversion", "", maximize=False, digits=3)
IDENTITY = Metric("inversion_retrieval", "own picture found", "", maximize=True, digits=3)
FACTORS = Metric(
    "inversion_factors", "factor correlation", "", maximize=True, digits=3, needs="judge"
)
EDITABILITY = Metric(
    "inversion_editability", "edit on inverted codes", "", maximize=True, digits=3, needs="judge"
)
SECONDS = Metric("inversion_seconds", "inversion", "s", maximize=False, digits=3)
METRICS = (RECONSTRUCTION_L2, RECONSTRUCTION_LPIPS, IDENTITY, FACTORS, EDITABILITY, SECONDS)

RESAMPLES = 2000
SEED = 0
#: A mapped edit whose mean slope is below this many of its standard errors has no direction to compare with.
LEAST_EFFECT = 2.0


@dataclass(frozen=True)
class Estimate:
    """A score with its bootstrap interval of CONFIDENCE; low and high are None with one picture.

    n: pictures behind it.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def estimate(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray] = np.mean,
    paired: bool = False,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A statistic of samples and its percentile bootstrap interval, by scipy.

    samples: arrays of pictures, [n], or row numbers for a statistic of rows. statistic(*samples) ->
    number. paired: all samples are resampled with the same pictures. ValueError: an empty sample or a
    value that is not finite.
    """
    samples = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if any(s.ndim != 1 or len(s) == 0 or not np.isfinite(s).all() for s in samples):
        raise ValueError("samples: each must be one or more finite numbers [n]")
    value, n = float(statistic(*samples)), min(map(len, samples))
    if n == 1:
        return Estimate(value, None, None, n)
    interval = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, confidence_level=confidence, paired=paired,
        method="percentile", vectorized=statistic is np.mean, random_state=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return Estimate(value, float(interval.low), float(interval.high), n)


def of_rows(
    statistic: Callable[[np.ndarray], float], n: int, confidence: float = CONFIDENCE
) -> Estimate:
    """As `estimate` for a statistic of the rows of arrays: statistic(row numbers [m]) -> number."""

    def from_rows(rows: np.ndarray) -> float:
        return statistic(rows.astype(np.intp))

    return estimate([np.arange(n)], from_rows, confidence=confidence)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of first - second over the same pictures [n]; for two methods, or two domains."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values: equal [n] expected, got {first.shape}, {second.shape}")
    return estimate([first - second])


# Reconstruction -----------------------------------------------------------------------------------


def squared_differences(images: np.ndarray, inverted: np.ndarray) -> np.ndarray:
    """Mean squared difference of each picture [n]; images, inverted: uint8 [n,H,W,3] or floats in [-1,1].

    The unit is that of pixels in [-1,1], so that 4 is the largest value.
    """
    images, inverted = np.asarray(images), np.asarray(inverted)
    if images.shape != inverted.shape or images.ndim != 4 or images.dtype != inverted.dtype:
        raise ValueError(
            f"images: equal arrays [n,H,W,3] expected, got {images.dtype} {images.shape} and "
            f"{inverted.dtype} {inverted.shape}"
        )
    scale = 127.5 if images.dtype == np.uint8 else 1.0
    difference = (images.astype(np.float64) - inverted.astype(np.float64)) / scale
    return np.square(difference).mean(axis=(1, 2, 3))


def reconstruction(images: np.ndarray, inverted: np.ndarray, distances: np.ndarray) -> dict[str, Estimate]:
    """{metric: estimate} of L2 and LPIPS between pictures and their inversions.

    distances: LPIPS [n,n], rows inverted, columns pictures (eval.networks.lpips_matrix), as for
    `identity`; or its diagonal [n].
    """
    distances = np.asarray(distances)
    own = np.diagonal(distances) if distances.ndim == 2 else distances
    squared = squared_differences(images, inverted)
    if len(own) != len(squared):
        raise ValueError(f"distances: those of {len(squared)} pictures expected, got {len(own)}")
    return {
        RECONSTRUCTION_L2.name: estimate([squared]),
        RECONSTRUCTION_LPIPS.name: estimate([own]),
    }


# Identity -----------------------------------------------------------------------------------------


def retrieval_hits(distances: np.ndarray) -> np.ndarray:
    """Whether the nearest picture is the own one, in [0,1] for each row [n]; a tie of m counts 1/m.

    distances: [n,N], N >= n; row i is of what picture i became (its inversion, or an adapted
    generator's drawing of its code), column j the j-th picture. Columns from n on are further
    pictures. Chance is 1/N.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or not 0 < len(distances) <= distances.shape[1]:
        raise ValueError(f"distances: [n,N] with N >= n > 0 expected, got {list(distances.shape)}")
    nearest = distances == distances.min(axis=1, keepdims=True)
    return np.diagonal(nearest) / nearest.sum(axis=1)


def identity(distances: np.ndarray) -> Estimate:
    """Share of pictures that are found among all; the interval is over pictures, for these candidates."""
    return estimate([retrieval_hits(distances)])


def factor_correlation(factors: np.ndarray, inverted: np.ndarray) -> Estimate:
    """Mean over factors of the Pearson correlation between pictures and what they became.

    factors, inverted: read-outs [n,F] of one network, or known factors and read-outs. A factor that does
    not vary in one of them counts as 0, also in a resample.
    """
    factors, inverted = np.asarray(factors), np.asarray(inverted)
    factor_correlations(factors, inverted)  # checks the shapes

    def mean(rows: np.ndarray) -> float:
        return float(factor_correlations(factors[rows], inverted[rows]).mean())

    return of_rows(mean, len(factors))


# Editability --------------------------------------------------------------------------------------


def slopes(strengths: np.ndarray, readouts: np.ndarray) -> np.ndarray:
    """Change of each factor per unit of an edit, by least squares: [n,F] of each code.

    strengths: [S] of the edit, two or more different ones. readouts: factors [n,S,F] of the images of
    each code at each strength.
    """
    strengths, readouts = (np.asarray(a, dtype=np.float64) for a in (strengths, readouts))
    centred = strengths - strengths.mean()
    if readouts.ndim != 3 or readouts.shape[1] != len(strengths) or not np.square(centred).sum() > 0:
        raise ValueError(
            f"edit: two or more different strengths [S] and read-outs [n,S,F] expected, got "
            f"{strengths.shape} and {readouts.shape}"
        )
    return np.einsum("s,nsf->nf", centred, readouts) / np.square(centred).sum()


@dataclass(frozen=True)
class Editability:
    """How an edit acts on inverted codes beside codes of the mapping network.

    mapped, inverted: mean slope of the factor that is edited. ratio: inverted / mapped; 1 is the same
    edit; None where the mapped slope does not differ from 0. leakage: change of the other factors for a
    change of 1 in the edited one, inverted codes, in standard deviations of the factors; None likewise.
    """

    mapped: Estimate
    inverted: Estimate
    ratio: Estimate | None
    leakage: Estimate | None


def editability(mapped: np.ndarray, inverted: np.ndarray, factor: int, spread: np.ndarray) -> Editability:
    """The effect of one edit from its `slopes` on mapped codes [n,F] and on inverted codes [m,F].

    factor: the column that is edited. spread: standard deviation of each factor over unedited pictures
    [F]. The two sets of codes are independent and are resampled apart.
    """
    mapped, inverted = (np.asarray(a, dtype=np.float64) for a in (mapped, inverted))
    spread = np.asarray(spread, dtype=np.float64)
    if mapped.ndim != 2 or inverted.ndim != 2 or not mapped.shape[1] == inverted.shape[1] == len(spread):
        raise ValueError(
            f"slopes: [n,F], [m,F] and spread [F] expected, got {mapped.shape}, {inverted.shape}, "
            f"{spread.shape}"
        )
    ours, theirs = mapped[:, factor], inverted[:, factor]
    parts = estimate([ours]), estimate([theirs])
    if not has_effect(ours):
        return Editability(*parts, None, None)

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        return float(b.mean() / a.mean())

    leakage = None
    if has_effect(theirs):
        leakage = of_rows(lambda rows: leaked(inverted[rows], factor, spread), len(inverted))
    return Editability(*parts, estimate([ours, theirs], ratio), leakage)


def has_effect(values: np.ndarray) -> bool:
    """Whether a mean slope [n] is LEAST_EFFECT standard errors from 0; a ratio to it means something."""
    values = np.asarray(values, dtype=np.float64)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return bool(abs(values.mean()) > LEAST_EFFECT * error)


def leaked(slopes_of_codes: np.ndarray, factor: int, spread: np.ndarray) -> float:
    """Mean over the other factors f of |s_f/σ_f| / |s_e/σ_e|, with mean slopes s of codes [n,F], edited e.

    Factors that do not vary are left out; 0 if no other varies.
    """
    varies = spread >= CONSTANT_BELOW
    moved = np.abs(slopes_of_codes.mean(axis=0)) / np.where(varies, spread, 1.0)
    others = varies & (np.arange(len(spread)) != factor)
    return float((moved[others] / moved[factor]).mean()) if others.any() else 0.0


# Cost ---------------------------------------------------------------------------------------------


def seconds_per_picture(durations: np.ndarray, pictures: int) -> Estimate:
    """Seconds a picture from the durations [r] of repeated inversions of `pictures` pictures each.

    The caller waits for the device before it reads the clock; the first repetition, which makes kernels,
    is left out by the caller.
    """
    durations = np.asarray(durations, dtype=np.float64)
    if pictures < 1 or (durations < 0).any():
        raise ValueError(f"durations: 0 or more seconds of 1 or more pictures expected, got {durations}")
    return estimate([durations / pictures])
