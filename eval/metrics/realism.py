"""Realism of single images, and who wins a comparison: the automatic judge of Fig. 12.

The paper asks people which of two images is better (two-alternative forced choice). Without their
answers, an image's realism is measured against the real images' manifold (Kynkäänniemi et al. 2019,
§5): the larger, the deeper inside. Images that the model was trained on belong to no manifold here,
or a model that learnt them by heart would always win.
"""

import numpy as np

from eval.metrics.metric import Metric
from eval.metrics.precision_recall import NEIGHBOURS, distinct, radii

REALISM = Metric("realism", "realism", "", maximize=True, digits=3)
PREFERENCE = Metric("preference", "comparisons won", "", maximize=True, digits=3)
METRICS = (REALISM, PREFERENCE)

#: Real images with the widest spheres are left out, as in the paper: the sparse ones say little.
WIDEST = 0.5


def realism(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """R(x) [N] = max over real images of (radius of its sphere / distance to it), Eq. 4.

    features: generated [N,D]; reference: real [M,D], without images that were trained on. Of equal
    real images one is kept. The half of the real images with the widest spheres is left out.
    """
    from scipy.spatial.distance import cdist

    reference = distinct(np.asarray(reference, dtype=np.float64))
    radius = radii(reference, k)
    narrow = radius <= np.quantile(radius, WIDEST)
    distances = cdist(np.asarray(features, dtype=np.float64), reference[narrow])
    return (radius[narrow] / np.maximum(distances, 1e-12)).max(axis=1)


def preference(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Share of comparisons that `theirs` wins against `ours`, in [0,1]; a draw counts half.

    Both: realism [n] of images of the same latents, compared latent by latent.
    """
    theirs, ours = np.asarray(theirs), np.asarray(ours)
    if theirs.shape != ours.shape or theirs.ndim != 1 or len(theirs) == 0:
        raise ValueError(f"realism: equal lengths wanted, got {theirs.shape}, {ours.shape}")
    return float(((theirs > ours) + 0.5 * (theirs == ours)).mean())
