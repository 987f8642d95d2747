"""Correspondence between the adapted and the source model's image of one latent code.

Directional adaptation should preserve identity, pose and background (Gal et al. 2021, §4.1). Computed
from LPIPS distances and from the factors (pose, colours) that the judge estimates; no torch. Here
"frozen" is the source model.
"""

from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample

SOURCE_LPIPS = Metric("source_lpips", "LPIPS to source", "", maximize=None, digits=3)
RETRIEVAL = Metric("retrieval_top1", "source retrieval", "", maximize=True, digits=3)
FACTOR_CORRELATION = Metric(
    "factor_correlation", "factor correlation", "", maximize=True, digits=3, needs="judge"
)
FACTOR_BIAS = Metric("factor_bias", "bias of factors", "σ", maximize=False, digits=3, needs="judge")


def group_metric(group: str) -> Metric:
    """The metric of one group of factors, e.g. factor_correlation_background."""
    name = f"{FACTOR_CORRELATION.name}_{group}"
    return Metric(name, f"{group} correlation", "", maximize=True, digits=3, needs="judge")


#: The last three are the groups of the mini world's factors.
METRICS = (
    SOURCE_LPIPS, RETRIEVAL, FACTOR_CORRELATION, FACTOR_BIAS,
    *(group_metric(group) for group in ("pose", "background", "fur")),
)  # fmt: skip

#: A factor whose standard deviation (in its own units) is below this does not vary.
CONSTANT_BELOW = 1e-6


def values(sample: Sample) -> Iterator[Value]:
    """All metrics of a model; those of factors where a judge estimated them.

    Nothing without a W+ space: images of an image bank correspond to no image of the source model.
    """
    if "source_lpips" not in sample:
        return
    distances = sample["source_lpips"]
    n = len(distances)
    yield Value(SOURCE_LPIPS, source_lpips(distances), n)
    yield Value(RETRIEVAL, retrieval_top1(distances), n)
    if not sample.judged:
        return
    factors = sample["source_factors"], sample["factors"][:n]
    yield Value(FACTOR_BIAS, factor_bias(*factors), n)
    correlations = factor_correlations(*factors)
    yield Value(FACTOR_CORRELATION, float(correlations.mean()), n)
    for group, value in group_means(correlations, sample.meta["factor_names"]).items():
        yield Value(group_metric(group), value, n)


def source_lpips(distances: np.ndarray) -> float:
    """Mean LPIPS between the adapted and the frozen image of each latent code.

    distances: [n,n], rows adapted, columns frozen. Range: 0 or more.
    """
    return float(np.diagonal(_square(distances)).mean())


def retrieval_top1(distances: np.ndarray) -> float:
    """Share in [0,1] of adapted images whose nearest frozen image is that of their own latent code.

    distances: LPIPS [n,n], rows adapted, columns frozen. A tie of m images counts 1/m, so that a
    collapsed model scores 1/n, which is chance.
    """
    distances = _square(distances)
    nearest = distances == distances.min(axis=1, keepdims=True)
    return float((np.diagonal(nearest) / nearest.sum(axis=1)).mean())


def factor_correlations(frozen: np.ndarray, adapted: np.ndarray) -> np.ndarray:
    """Pearson correlation [F] of each factor over latent codes, in [-1,1].

    frozen, adapted: factors [n,F] of the two models' images. The correlation of a factor that does
    not vary in one of the models counts as 0. ValueError: another shape.
    """
    frozen, adapted = (np.asarray(f, dtype=np.float64) for f in (frozen, adapted))
    if frozen.shape != adapted.shape or frozen.ndim != 2 or len(frozen) < 2:
        raise ValueError(f"factors: equal [n>=2,F] expected, got {frozen.shape}, {adapted.shape}")
    a, b = frozen - frozen.mean(axis=0), adapted - adapted.mean(axis=0)
    std_a, std_b = a.std(axis=0), b.std(axis=0)
    constant = (std_a < CONSTANT_BELOW) | (std_b < CONSTANT_BELOW)
    return np.where(constant, 0.0, (a * b).mean(axis=0) / np.where(constant, 1.0, std_a * std_b))


def factor_bias(frozen: np.ndarray, adapted: np.ndarray) -> float:
    """Mean over factors of |mean(adapted) - mean(frozen)| / std(frozen), in standard deviations.

    frozen, adapted: factors [n,F]. Text directions should not shift the distribution of pose and
    colours; directions from a few images shift it to what these share (Gal et al. 2021, App. C,
    Fig. 16). Factors that do not vary are left out; 0 if none varies.
    """
    shifts = factor_shifts(frozen, adapted)
    moved = np.abs(shifts[np.isfinite(shifts)])
    return float(moved.mean()) if len(moved) else 0.0


def factor_shifts(frozen: np.ndarray, adapted: np.ndarray) -> np.ndarray:
    """(mean(adapted) - mean(frozen)) / std(frozen) of each factor [F]; NaN for one that does not vary.

    frozen, adapted: factors [n,F].
    """
    frozen, adapted = (np.asarray(f, dtype=np.float64) for f in (frozen, adapted))
    std = frozen.std(axis=0)
    varies = std >= CONSTANT_BELOW
    shifts = np.full(len(std), np.nan)
    shifts[varies] = (adapted.mean(axis=0) - frozen.mean(axis=0))[varies] / std[varies]
    return shifts


def group_of(factor: str) -> str:
    """The group of a factor: its colour for a colour channel (name_r, name_g, name_b), else "pose"."""
    name, _, suffix = factor.rpartition("_")
    return name if name and suffix in ("r", "g", "b") else "pose"


def group_means(correlations: np.ndarray, factors: list[str]) -> dict[str, float]:
    """Mean correlation of each group of factors, in order of appearance.

    ["yaw", "background_r", "background_g"] -> {"pose": …, "background": …}.
    """
    groups: dict[str, list[float]] = {}
    for factor, value in zip(factors, correlations, strict=True):
        groups.setdefault(group_of(factor), []).append(float(value))
    return {group: float(np.mean(values)) for group, values in groups.items()}


def _square(distances: np.ndarray) -> np.ndarray:
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances: a square matrix expected, got {list(distances.shape)}")
    return distances
