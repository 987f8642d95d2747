"""FID and KID as features → statistic → metric (Heusel et al. 2017; Bińkowski et al. 2018).

The distances are clean-fid's own functions (Parmar et al. 2022); `eval.features` makes features.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from eval.metric import Metric
from nada.errors import UserError

FID = Metric("fid", "FID", "", maximize=False, digits=2)
KID = Metric("kid", "KID", "", maximize=False, digits=4)
FID_LEGACY = Metric("fid_legacy_pytorch", "FID, pytorch-fid", "", maximize=False, digits=2)
METRICS = (FID, KID, FID_LEGACY)
#: Features of another of clean-fid's modes, by their name in an observation, and the FID on them.
OTHER_MODES = {"features_legacy_pytorch": FID_LEGACY}

#: Below this many images a covariance says too little to be called a distance (our floor).
MIN_IMAGES = 50
#: Up to this many images per feature the bias of FID is large: recorded with the score.
IMAGES_PER_FEATURE = 2
#: Added to both diagonals when the product of the covariances is singular (clean-fid's own value).
SINGULAR_OFFSET = 1e-6
#: clean-fid's defaults for KID: number of subsets and their greatest size.
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
KID_SEED = 0


@dataclass(frozen=True)
class GaussianStatistic:
    """mean [d] and unbiased covariance [d,d] of `count` feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @property
    def is_small(self) -> bool:
        """Fewer than 2·d images: the FID is dominated by its bias."""
        return self.count < IMAGES_PER_FEATURE * len(self.mean)


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
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½): clean-fid's Fréchet distance.

    When the square root is singular, 1e-6 is added to both diagonals (as pytorch-fid and
    clean-fid do). Rounding may leave a value some 1e-6 below zero for equal sets.
    """
    from cleanfid.fid import frechet_distance  # imports torch: not before it is needed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy: sqrtm's disp argument; singular, handled below
        try:
            return float(frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
        except ValueError:  # clean-fid: imaginary component of a near-singular root
            offset = SINGULAR_OFFSET * np.eye(len(a.mean))
            return float(
                frechet_distance(a.mean, a.covariance + offset, b.mean, b.covariance + offset)
            )


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
