"""Scores of inversion: how well a code reproduces an image (Gal et al. 2021, §5.2, Figs. 8 and 18).

Reconstruction: the distance of the inverted image from the input. Identity: whether the input is found
among other pictures, and whether its factors are kept. Editability: whether an edit acts on inverted codes
as on codes of the mapping network (Tov et al. 2021, "distortion-editability tradeoff"). Cost: seconds a
picture.

Every score has a bootstrap interval over pictures. Methods and domains that see the same pictures are not
independent: compare them by paired values (`paired_difference`).
"""

from dataclasses import dataclass

import numpy as np

from eval.latent_space.intervals import (
    UNDEFINED,
    Estimate,
    bootstrap,
    bootstrap_mean,
    resampled_means,
)
from eval.latent_space.slopes import leakage
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


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Mean of first - second over the same pictures [n]; for two methods, or two domains."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values: equal [n] expected, got {first.shape}, {second.shape}")
    return bootstrap_mean(first - second)


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
        RECONSTRUCTION_L2.name: bootstrap_mean(squared),
        RECONSTRUCTION_LPIPS.name: bootstrap_mean(own),
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
    return bootstrap_mean(retrieval_hits(distances))


def factor_correlation(factors: np.ndarray, inverted: np.ndarray) -> Estimate:
    """Mean over factors of the Pearson correlation between pictures and what they became.

    factors, inverted: read-outs [n,F] of one network, or known factors and read-outs. A factor that does
    not vary in one of them counts as 0, also in a resample.
    """
    factors, inverted = np.asarray(factors), np.asarray(inverted)
    factor_correlations(factors, inverted)  # checks the shapes

    def correlation(rows: np.ndarray) -> float:
        return factor_correlations(factors[rows], inverted[rows]).mean()

    return bootstrap(lambda rows: np.apply_along_axis(correlation, -1, rows), len(factors))


# Editability --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Editability:
    """How an edit acts on inverted codes beside codes of the mapping network.

    mapped, inverted: mean slope of the factor that is edited. ratio: inverted / mapped; 1 is the same
    edit; undefined where the interval of the mapped slope holds 0. leakage: change of the other factors
    for a change of 1 in the edited one, inverted codes, in standard deviations of the factors; undefined
    where the interval of the inverted slope holds 0.
    """

    mapped: Estimate
    inverted: Estimate
    ratio: Estimate
    leakage: Estimate


def editability(mapped: np.ndarray, inverted: np.ndarray, factor: int, spread: np.ndarray) -> Editability:
    """The effect of one edit from its `code_slopes` on mapped codes [n,F] and on inverted codes [m,F].

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
    of_mapped, of_inverted = bootstrap_mean(ours), bootstrap_mean(theirs)
    ratio = leaks = UNDEFINED
    if of_mapped.excludes_zero:
        sizes = len(ours), len(theirs)
        ratio = bootstrap(lambda a, b: resampled_means(theirs, b) / resampled_means(ours, a), *sizes)
    if of_mapped.excludes_zero and of_inverted.excludes_zero:
        leaks = bootstrap(
            lambda rows: leaked(resampled_means(inverted, rows), factor, spread), len(inverted)
        )
    return Editability(of_mapped, of_inverted, ratio, leaks)


def leaked(slopes: np.ndarray, factor: int, spread: np.ndarray) -> np.ndarray:
    """`leakage` of mean slopes [...,F] in the factors' units, with their standard deviations [F].

    Factors that do not vary are left out; 0 if no other varies.
    """
    others = [f for f in np.flatnonzero(spread >= CONSTANT_BELOW) if f != factor]
    if not others:
        return np.zeros(slopes.shape[:-1])
    return leakage(slopes / np.where(spread >= CONSTANT_BELOW, spread, 1.0), factor, others)


# Cost ---------------------------------------------------------------------------------------------


def seconds_per_picture(durations: np.ndarray, pictures: int) -> Estimate:
    """Seconds a picture from the durations [r] of repeated inversions of `pictures` pictures each.

    The caller waits for the device before it reads the clock; the first repetition, which makes kernels,
    is left out by the caller.
    """
    durations = np.asarray(durations, dtype=np.float64)
    if pictures < 1 or (durations < 0).any():
        raise ValueError(f"durations: 0 or more seconds of 1 or more pictures expected, got {durations}")
    return bootstrap_mean(durations / pictures)
