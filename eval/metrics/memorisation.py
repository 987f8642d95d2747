"""Memorisation: the share of images nearer to a training image than new real images are.

A few-shot model that memorised its training images scores well on realism (Gal et al. 2021, §5.3 on
MineGAN, Fig. 13). Distance is LPIPS to the nearest training image, mirrored or not. No torch.
"""

from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

NEAREST_TRAINING = Metric("nearest_training_lpips", "LPIPS to nearest training image", "", None, 3)
MEMORISED = Metric("memorised", "memorised", "", maximize=False, digits=3, needs="new_images")
METRICS = (NEAREST_TRAINING, MEMORISED)

#: A generated image counts as memorised if less than this share of new real images is as near.
QUANTILE = 0.05
#: Real images nearer than this to a training image are copies of it that differ by rounding.
COPY = 1e-4
#: The Pareto plot draws a model hollow if more than this share of its images is memorised.
FLOOR = 0.5


def values(sample: Sample) -> Iterator[Value]:
    """Both metrics, of models that trained on images; the first alone without enough new real images."""
    if "training_lpips" not in sample:
        return
    near = nearest(sample["training_lpips"])
    yield Value(NEAREST_TRAINING, float(near.mean()), len(near))
    fresh = nearest(sample["fresh_lpips"]) if "fresh_lpips" in sample else ()
    if enough(fresh):  # else too few real images are new to the run
        yield Value(MEMORISED, memorised(near, fresh), len(near))


def nearest(distances: np.ndarray) -> np.ndarray:
    """Distance [n] to the nearest training image.

    distances: LPIPS [n, 2m] to m training images and their mirror images. UserError: values that are
    not finite. ValueError: another shape.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or 0 in distances.shape:
        raise ValueError(f"distances: [n, m] expected, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        raise UserError("memorisation: a distance to a training image is not finite.")
    return distances.min(axis=1)


def enough(fresh: np.ndarray) -> bool:
    """Whether so many of the real images [m], by their `nearest`, are no copies that `memorised` can tell."""
    return int((np.asarray(fresh) >= COPY).sum()) >= 1 / QUANTILE


def memorised(generated: np.ndarray, fresh: np.ndarray) -> float:
    """Share in [0,1] of generated images nearer to a training image than 95 % of new real images are.

    generated [n], fresh [m]: `nearest` of the generated images, and of real images that were not
    trained on. Copies of training images among the latter (nearer than COPY) are left out. New real
    images score QUANTILE by construction, replayed training images 1.
    UserError: fewer than 1 / QUANTILE new real images.
    """
    fresh = np.asarray(fresh, dtype=np.float64)
    new = fresh[fresh >= COPY]
    if not enough(fresh):
        copies = len(fresh) - len(new)
        among = f" ({copies} more are copies of training images)" if copies else ""
        raise UserError(
            f"memorisation: {len(new)} new real images beside the training set{among};"
            f" {1 / QUANTILE:.0f} or more are needed."
        )
    limit = np.quantile(new, QUANTILE)
    return float((np.asarray(generated) < limit).mean())
