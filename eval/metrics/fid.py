"""FID and KID as features → statistic → metric (Heusel et al. 2017; Bińkowski et al. 2018).

KID is clean-fid's own function (Parmar et al. 2022), FID its number by a shorter way;
`eval.networks.features` makes features.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.metrics.metric import Metric
from eval.observation import MIN_IMAGES
from nada.run.errors import UserError

FID = Metric("fid", "FID", "", maximize=False, digits=2)
KID = Metric("kid", "KID", "", maximize=False, digits=4)
FID_LEGACY = Metric("fid_legacy_pytorch", "FID, pytorch-fid", "", maximize=False, digits=2)
METRICS = (FID, KID, FID_LEGACY)
#: Features of another of clean-fid's modes, by their name in an observation, and the FID on them.
OTHER_MODES = {"features_legacy_pytorch": FID_LEGACY}

#: Up to this many images per feature the bias of FID is large: recorded with the score.
IMAGES_PER_FEATURE = 2
#: clean-fid's defaults for KID: number of subsets and their greatest size.
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
KID_SEED = 0


@dataclass(frozen=True)
class GaussianStatistic:
    """mean [d] and unbiased covariance [d,d] of `count` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance, [d,d]; made once."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(0))) @ vectors.T


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features [N,d] of an image set that others are compared with; its Gaussian is made once."""

    features: np.ndarray
    name: str = "reference set"

    @cached_property
    def statistic(self) -> GaussianStatistic:
        """Raises as `gaussian_statistic`."""
        return gaussian_statistic(self.features, self.name)


def gaussian_statistic(features: np.ndarray, name: str = "image set") -> GaussianStatistic:
    """Features [N,d] -> their Gaussian.

    name: what to call the set in errors. UserError: fewer than 50 images, values not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"{name}: features [N,d] wanted, got shape {list(features.shape)}")
    if len(features) < MIN_IMAGES:
        raise UserError(
            f"{name} has {len(features)} images; FID needs at least {MIN_IMAGES}"
            f" (and {IMAGES_PER_FEATURE * features.shape[1]} to be trusted)"
        )
    if not np.isfinite(features).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise UserError(f"{name}: the features of image {bad} are not finite (NaN in the image?)")
    covariance = np.atleast_2d(np.cov(features, rowvar=False))
    return GaussianStatistic(features.mean(axis=0), covariance, len(features))


def fid(a: GaussianStatistic, b: GaussianStatistic) -> float:
    """‖μ_a − μ_b‖² + tr Σ_a + tr Σ_b − 2 tr (Σ_a Σ_b)^½, the Fréchet distance of two Gaussians.

    Σ_a Σ_b has the eigenvalues of R Σ_a R, R = Σ_b^½, which is symmetric: so the last trace is the
    sum of their roots. clean-fid takes the root of the product itself; the numbers agree to 1e-9
    (of Inception's 2048 features in a tenth of the time, where b is met again: its root is kept).
    Where either covariance is singular, as with fewer images than features, clean-fid may add 1e-6
    to both diagonals; nothing is added here.
    """
    values = np.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    cross = np.sqrt(values.clip(0)).sum()
    mean = np.square(a.mean - b.mean).sum()
    return float(mean + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


@contextmanager
def _numpy_seed(seed: int):
    state = np.random.get_state()
    np.random.seed(seed)  # clean-fid draws its subsets from the global generator
    try:
        yield
    finally:
        np.random.set_state(state)


def kid(features_a: np.ndarray, features_b: np.ndarray, seed: int = KID_SEED) -> float:
    """Unbiased squared MMD, kernel (x·y/d + 1)³: clean-fid's kernel distance, its draws seeded.

    features_a, features_b: [N,d], [M,d], at least two rows each. 100 subsets of
    min(N, M, 1000) images; one is enough where every subset is the whole of both sets.
    """
    from cleanfid.fid import kernel_distance  # imports torch: not before it is needed

    a, b = (np.asarray(f, dtype=np.float64) for f in (features_a, features_b))
    whole = len(a) == len(b) <= KID_SUBSET_SIZE
    with _numpy_seed(seed):
        return float(kernel_distance(a, b, 1 if whole else KID_SUBSETS, KID_SUBSET_SIZE))
