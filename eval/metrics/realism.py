"""Realism of single images, and the share of comparisons won by it (Kynkäänniemi et al. 2019, §5).

For Fig. 12, Gal et al. (2021) ask people which of two images is better. Where no people were asked,
the image with the larger realism wins. Images that either model trained on are left out of the real
images: otherwise a model that memorised them would always win.

These metrics compare two models, so `eval.score.preference_rows` computes their rows.
"""

import numpy as np

from eval.metrics.metric import Metric
from eval.metrics.precision_recall import NEIGHBOURS, distinct, radii

REALISM = Metric("realism", "realism", "", maximize=True, digits=3, needs="references")
PREFERENCE = Metric("preference", "comparisons won", "", maximize=True, digits=3, needs="references")
METRICS = (REALISM, PREFERENCE)

#: This share of the real images, those with the largest spheres, is left out, as in the paper.
WIDEST = 0.5


def realism(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """R(x) [N] = max over real images of (radius of the image's sphere / distance to it), Eq. 4.

    features: of generated images [N,D]. reference: of real images [M,D], without training images;
    repeated ones count once, and the half with the largest spheres is left out. Range: 0 or more; 1 or
    more inside the manifold.
    """
    from scipy.spatial.distance import cdist

    reference = distinct(np.asarray(reference, dtype=np.float64))
    radius = radii(reference, k)
    narrow = radius <= np.quantile(radius, WIDEST)
    distances = cdist(np.asarray(features, dtype=np.float64), reference[narrow])
    return (radius[narrow] / np.maximum(distances, 1e-12)).max(axis=1)


def preference(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Share in [0,1] of comparisons that `theirs` wins against `ours`; a draw counts one half.

    theirs, ours: realism [n] of images of the same latent codes, compared one by one. ValueError:
    lengths that differ, or no image.
    """
    theirs, ours = np.asarray(theirs), np.asarray(ours)
    if theirs.shape != ours.shape or theirs.ndim != 1 or len(theirs) == 0:
        raise ValueError(f"realism: equal lengths expected, got {theirs.shape}, {ours.shape}")
    return float(((theirs > ours) + 0.5 * (theirs == ours)).mean())
