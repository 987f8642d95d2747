"""Does the adapted image keep what its latent code meant? Frozen against adapted, same latents.

Directional adaptation promises that identity, pose and background survive (Gal et al. 2021, §4.1);
these numbers say how far. No torch: works on distances and on the judge's factors.
"""

import numpy as np

from eval.metrics.metric import Metric

SOURCE_LPIPS = Metric("source_lpips", "LPIPS to source", "", maximize=None, digits=3)
RETRIEVAL = Metric("retrieval_top1", "source retrieval", "", maximize=True, digits=3)
FACTOR_CORRELATION = Metric("factor_correlation", "factor correlation", "", True, digits=3)
FACTOR_BIAS = Metric("factor_bias", "bias of factors", "σ", maximize=False, digits=3)
METRICS = (SOURCE_LPIPS, RETRIEVAL, FACTOR_CORRELATION, FACTOR_BIAS)

#: A factor whose standard deviation is below this (in its own units) does not vary.
CONSTANT_BELOW = 1e-6


def group_metric(group: str) -> Metric:
    """The metric of one group of factors, e.g. factor_correlation_background."""
    return Metric(f"{FACTOR_CORRELATION.name}_{group}", f"{group} correlation", "", True, 3)


def source_lpips(distances: np.ndarray) -> float:
    """Mean LPIPS between the adapted image of latent i and the frozen one of i; [n,n] in."""
    return float(np.diagonal(_square(distances)).mean())


def retrieval_top1(distances: np.ndarray) -> float:
    """Share of adapted images i whose nearest frozen image is i's own; chance is 1/n.

    distances: LPIPS [n,n], rows adapted, columns frozen. A tie counts as found only for its share:
    a collapsed model, equally far from everything, scores the chance it has.
    """
    distances = _square(distances)
    nearest = distances == distances.min(axis=1, keepdims=True)
    return float((np.diagonal(nearest) / nearest.sum(axis=1)).mean())


def factor_correlations(frozen: np.ndarray, adapted: np.ndarray) -> np.ndarray:
    """Pearson correlation [F] of each factor [n,F] over latents, as the judge sees them.

    A factor that does not vary on one side carries nothing over: its correlation counts as 0.
    """
    frozen, adapted = (np.asarray(f, dtype=np.float64) for f in (frozen, adapted))
    if frozen.shape != adapted.shape or frozen.ndim != 2 or len(frozen) < 2:
        raise ValueError(f"factors: equal [n>=2,F] wanted, got {frozen.shape}, {adapted.shape}")
    a, b = frozen - frozen.mean(axis=0), adapted - adapted.mean(axis=0)
    std_a, std_b = a.std(axis=0), b.std(axis=0)
    constant = (std_a < CONSTANT_BELOW) | (std_b < CONSTANT_BELOW)
    return np.where(constant, 0.0, (a * b).mean(axis=0) / np.where(constant, 1.0, std_a * std_b))


def factor_bias(frozen: np.ndarray, adapted: np.ndarray) -> float:
    """Mean over factors of |mean(adapted) - mean(frozen)| / std(frozen); factors [n,F].

    Text and image directions should leave the distribution of pose and colours where it was; a few
    target images that share a colour pull it there (Gal et al. 2021, App. C, Fig. 16). Factors that
    do not vary are left out; 0 if none does.
    """
    frozen, adapted = (np.asarray(f, dtype=np.float64) for f in (frozen, adapted))
    std = frozen.std(axis=0)
    varies = std >= CONSTANT_BELOW
    moved = np.abs(adapted.mean(axis=0) - frozen.mean(axis=0))[varies]
    return float((moved / std[varies]).mean()) if varies.any() else 0.0


def group_of(factor: str) -> str:
    """Colour channels (name_r, name_g, name_b) belong to their colour, everything else is pose."""
    name, _, suffix = factor.rpartition("_")
    return name if name and suffix in ("r", "g", "b") else "pose"


def group_means(correlations: np.ndarray, factors: list[str]) -> dict[str, float]:
    """Mean correlation per group of factors, groups in order of appearance.

    ["yaw", "background_r", "background_g"] -> {"pose": …, "background": …}.
    """
    groups: dict[str, list[float]] = {}
    for factor, value in zip(factors, correlations, strict=True):
        groups.setdefault(group_of(factor), []).append(float(value))
    return {group: float(np.mean(values)) for group, values in groups.items()}


def _square(distances: np.ndarray) -> np.ndarray:
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances: a square matrix wanted, got {list(distances.shape)}")
    return distances
