"""FID: the Fréchet distance of two sets of features (Heusel et al. 2017).

Features → Gaussian statistic → distance. The value is clean-fid's (Parmar et al. 2022), computed by a
shorter way. `eval.networks` makes the features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from eval.observation import MIN_IMAGES
from nada.run.errors import UserError

FID = Metric("fid", "FID", "", maximize=False, digits=2, needs="references")
FID_LEGACY = Metric(
    "fid_legacy_pytorch", "FID, pytorch-fid", "", maximize=False, digits=2, needs="references"
)
#: Images of the smaller set per feature. Below 2, FID is dominated by its bias.
FID_IMAGES_PER_FEATURE = Metric(
    "fid_images_per_feature", "images per feature", "", maximize=None, digits=1, needs="references"
)
METRICS = (FID, FID_IMAGES_PER_FEATURE, FID_LEGACY)
#: Array of an observation with the features of another of clean-fid's modes -> the FID on them.
OTHER_MODES = {"features_legacy_pytorch": FID_LEGACY}

#: With fewer images per feature the bias of FID is large; tables say so.
IMAGES_PER_FEATURE = 2


def values(sample: Sample) -> Iterator[Value]:
    """FID against the reference images, in every mode observed; snapshots have too few images."""
    if sample.references is None or sample.snapshot:
        return
    reference = sample.references["features"].statistic
    generated = gaussian_statistic(sample["features"], sample.name)
    fewest = min(generated.count, reference.count)
    yield Value(FID, fid(generated, reference), generated.count)
    yield Value(FID_IMAGES_PER_FEATURE, fewest / len(generated.mean), fewest)
    for array, metric in OTHER_MODES.items():
        if array in sample.references and not sample.raw:
            generated = gaussian_statistic(sample[array], sample.name)
            yield Value(metric, fid(generated, sample.references[array].statistic), generated.count)


@dataclass(frozen=True)
class GaussianStatistic:
    """mean [d] and unbiased covariance [d,d] of `count` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root [d,d] of the covariance; computed once."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features [N,d] of the image set that others are compared with; its Gaussian is computed once."""

    features: np.ndarray
    name: str = "reference set"

    @cached_property
    def statistic(self) -> GaussianStatistic:
        """The Gaussian of the features; errors as in `gaussian_statistic`."""
        return gaussian_statistic(self.features, self.name)


def gaussian_statistic(features: np.ndarray, name: str = "image set") -> GaussianStatistic:
    """Features [N,d] -> their Gaussian.

    name: what errors call the set. UserError: fewer than MIN_IMAGES images, or values not finite.
    ValueError: another shape.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"{name}: features [N,d] expected, got shape {list(features.shape)}")
    if len(features) < MIN_IMAGES:
        raise UserError(
            f"{name} has {len(features)} images; FID needs at least {MIN_IMAGES}"
            f" (and {IMAGES_PER_FEATURE * features.shape[1]} to be reliable)"
        )
    if not np.isfinite(features).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise UserError(f"{name}: the features of image {bad} are not finite (NaN in the image?)")
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    return GaussianStatistic(features.mean(axis=0), covariance, len(features))


def fid(a: GaussianStatistic, b: GaussianStatistic) -> float:
    """‖μ_a − μ_b‖² + tr Σ_a + tr Σ_b − 2 tr (Σ_a Σ_b)^½, the Fréchet distance of two Gaussians.

    Σ_a Σ_b has the eigenvalues of the symmetric R Σ_a R with R = Σ_b^½, so the last trace is the sum of
    their roots. clean-fid takes the root of the product itself; the values agree to 1e-9 relative.
    Since R is kept, a second FID against the same b takes a tenth of clean-fid's time (2048 features).
    Where a covariance is singular, as with fewer images than features, clean-fid may add 1e-6 to both
    diagonals; nothing is added here.
    """
    values = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    cross = np.sqrt(values.clip(0)).sum()
    mean = np.square(a.mean - b.mean).sum()
    return float(mean + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)
