"""Mean pairwise LPIPS: over all images, and over those that the judge accepts as the target.

Computed from a matrix of LPIPS distances; no torch. Not in the paper, whose diversity is
`intra_cluster_lpips`. Noise raises every diversity, so `accepted_lpips` counts only images that show
the target.
"""

from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

MEAN_LPIPS = Metric("mean_lpips", "mean pairwise LPIPS", "", maximize=True, digits=3)
ACCEPTED_LPIPS = Metric(
    "accepted_lpips", "mean LPIPS of accepted", "", maximize=True, digits=3, needs="judge"
)
METRICS = (MEAN_LPIPS, ACCEPTED_LPIPS)


def values(sample: Sample) -> Iterator[Value]:
    """The mean over all images; over accepted images of a final model, where two or more are."""
    if sample.raw:
        return
    distances = sample["lpips"]
    yield Value(MEAN_LPIPS, mean_pairwise(distances), len(distances))
    if sample.final and sample.judged:
        kind, name = sample.meta["target"]
        logits = sample[f"{kind}_logits"][: len(distances)]
        accepted = logits.argmax(axis=1) == sample.meta[f"{kind}_names"].index(name)
        if accepted.sum() >= 2:
            mean = mean_pairwise(distances[np.ix_(accepted, accepted)])
            yield Value(ACCEPTED_LPIPS, mean, int(accepted.sum()))


def check_distances(distances: np.ndarray) -> np.ndarray:
    """Distances [n,n] as float64. ValueError: not square. UserError: values that are not finite."""
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances: a square matrix expected, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        bad = int(np.flatnonzero(~np.isfinite(distances).all(axis=1))[0])
        raise UserError(f"LPIPS: the distances of image {bad} are not finite")
    return distances


def mean_pairwise(distances: np.ndarray) -> float:
    """Mean over the n(n-1)/2 unordered pairs of a symmetric matrix [n,n]; ValueError for n < 2."""
    distances = check_distances(distances)
    if len(distances) < 2:
        raise ValueError("mean_pairwise: two or more images expected")
    return float(distances[np.triu_indices(len(distances), k=1)].mean())
