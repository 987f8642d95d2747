"""Memorisation: are generated images nearer to the training images than new real images are?

A few-shot model that memorised its images scores well on realism (Gal et al. 2021, §5.3 on
MineGAN, Fig. 13). The measure is LPIPS to the nearest training image, mirrored or not.
"""

import numpy as np

from eval.metrics.metric import Metric
from nada.run.errors import UserError

NEAREST_TRAINING = Metric("nearest_training_lpips", "LPIPS to nearest training image", "", None, 3)
MEMORISED = Metric("memorised", "memorised", "", maximize=False, digits=3)
METRICS = (NEAREST_TRAINING, MEMORISED)

#: A generated image counts as memorised where fewer than this share of new real images is as near.
QUANTILE = 0.05
#: Real images nearer than this to a training image are copies of it: rounding, not a picture's change.
COPY = 1e-4
#: A run whose share of memorised images is larger is drawn hollow in the Pareto plot.
FLOOR = 0.5


def nearest(distances: np.ndarray) -> np.ndarray:
    """Distance [n] to the nearest training image, of LPIPS [n, 2m]: images and their mirrors."""
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or 0 in distances.shape:
        raise ValueError(f"distances: [n, m] wanted, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        raise UserError("memorisation: a distance to a training image is not finite.")
    return distances.min(axis=1)


def enough(fresh: np.ndarray) -> bool:
    """Whether so many of the real images [m], by their `nearest`, are no copies that `memorised` can tell."""
    return int((np.asarray(fresh) >= COPY).sum()) >= 1 / QUANTILE


def memorised(generated: np.ndarray, fresh: np.ndarray) -> float:
    """Share of generated images nearer to a training image than all but 5 % of new real images.

    generated [n], fresh [m]: `nearest` of generated images and of real ones that were not trained
    on. Copies of training images among the latter (nearer than COPY) are left out: they are not
    new. Real images score QUANTILE by construction, replayed training images 1.
    UserError: fewer than 1 / QUANTILE new real images.
    """
    fresh = np.asarray(fresh, dtype=np.float64)
    new = fresh[fresh >= COPY]
    if not enough(fresh):
        copies = len(fresh) - len(new)
        among = f" ({copies} more are copies of training images)" if copies else ""
        raise UserError(
            f"memorisation: {len(new)} new real images beside the training set{among};"
            f" {1 / QUANTILE:.0f} or more are wanted."
        )
    limit = np.quantile(new, QUANTILE)
    return float((np.asarray(generated) < limit).mean())
