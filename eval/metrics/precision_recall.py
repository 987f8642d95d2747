"""Precision and recall by k-nearest-neighbour spheres of features (Kynkäänniemi et al. 2019, Eq. 1-3).

Precision: the share of generated images inside the manifold of the real images. Recall: the share of
real images inside the manifold of the generated images. The manifold of a set is the union of spheres
around its points; the radius of each is the distance to the point's k-th nearest neighbour. Repeated
real images count once, since k copies would give their sphere the radius 0. Computed from the features
of FID; no torch.
"""

import bisect
from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

PRECISION = Metric("precision", "precision", "", maximize=True, digits=3, needs="references")
RECALL = Metric("recall", "recall", "", maximize=True, digits=3, needs="references")
#: Number of reference images that repeat another reference image.
REFERENCE_COPIES = Metric(
    "reference_copies", "copies among the real images", "", maximize=None, digits=0, needs="references"
)
METRICS = (PRECISION, RECALL, REFERENCE_COPIES)

#: k: a sphere reaches to this neighbour (the paper's choice).
NEIGHBOURS = 3
#: Real images nearer than this share of the set's spread (root mean square distance to the mean) are
#: the same image: the features of one image differ by rounding from batch to batch.
SAME = 1e-4
#: Rows of the distance matrix held in memory at once.
BLOCK = 1024


def values(sample: Sample) -> Iterator[Value]:
    """Precision and recall against the reference images; copies among these, where there are any."""
    if sample.references is None or sample.snapshot or sample.raw:
        return
    features, reference = sample["features"], sample.references["features"].features
    precision, recall = precision_recall(reference, features)
    yield Value(PRECISION, precision, len(features))
    yield Value(RECALL, recall, len(features))
    if sample.real:
        both = np.concatenate([features, reference])  # the two halves of the reference images
        if copies := int(repeats(both).sum()):
            yield Value(REFERENCE_COPIES, copies, len(both))


def precision_recall(
    real: np.ndarray, fake: np.ndarray, k: int = NEIGHBOURS
) -> tuple[float, float]:
    """(precision, recall), each in [0,1], of features real [N,D] and fake [M,D]; float64 inside.

    k: a sphere reaches to the k-th neighbour, the point itself not counted; each set needs more than k
    rows. Repeated real images count once. Repeated generated images stay, so that a collapsed model
    has no recall. A point on a sphere is inside. UserError: too few rows, or values that are not finite.
    """
    real, fake = distinct(_checked(real, "real", k)), _checked(fake, "generated", k)
    real = _checked(real, "distinct real", k)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"features: equal widths expected, got {real.shape[1]}, {fake.shape[1]}")
    return share_inside(fake, real, radii(real, k)), share_inside(real, fake, radii(fake, k))


def distinct(points: np.ndarray) -> np.ndarray:
    """The points of [N,D] that repeat no earlier one (within SAME), in their order."""
    points = np.asarray(points, dtype=np.float64)
    return points[~repeats(points)]


def repeats(points: np.ndarray) -> np.ndarray:
    """Whether each point of [N,D] repeats an earlier one (within SAME): bool [N]."""
    points = np.asarray(points, dtype=np.float64)
    spread = np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
    # near points have near projections on any line: compare only with neighbours on one line
    direction = np.random.default_rng(0).normal(size=points.shape[1])
    places = points @ (direction / np.linalg.norm(direction))
    radius, found = SAME * spread, np.zeros(len(points), bool)
    kept: list[tuple[float, int]] = []  # (place, row), ascending
    for row, place in enumerate(places):
        first = bisect.bisect_left(kept, (place - radius, 0))
        last = bisect.bisect_right(kept, (place + radius, len(points)))
        near = [other for _, other in kept[first:last]]
        found[row] = any(np.linalg.norm(points[near] - points[row], axis=1) <= radius)
        if not found[row]:
            bisect.insort(kept, (place, row))
    return found


def radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance [N] of each point [N,D] to its k-th nearest other point."""
    from sklearn.neighbors import NearestNeighbors

    # a tree takes differences coordinate by coordinate; 'brute' loses digits where points are close
    model = NearestNeighbors(n_neighbors=k, algorithm="ball_tree").fit(points)
    return model.kneighbors()[0][:, -1]  # no argument: a point is not its own neighbour


def share_inside(points: np.ndarray, centres: np.ndarray, radius: np.ndarray) -> float:
    """Share in [0,1] of the points [M,D] inside one or more of the spheres (centres [N,D], radius [N])."""
    from scipy.spatial.distance import cdist

    inside = 0
    for start in range(0, len(points), BLOCK):
        distances = cdist(points[start : start + BLOCK], centres)
        inside += int((distances <= radius).any(axis=1).sum())
    return inside / len(points)


def _checked(features, name: str, k: int) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"{name} features: [N,D] expected, got {list(features.shape)}")
    if not 1 <= k < len(features):
        raise UserError(
            f"precision and recall: k={k} neighbours of {len(features)} {name} images;"
            f" k must be in 1..{len(features) - 1}"
        )
    if not np.isfinite(features).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise UserError(f"precision and recall: the features of {name} image {bad} are not finite")
    return features
