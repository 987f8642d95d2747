"""Diversity: LPIPS inside K-medoids clusters, and its plain mean over pairs (Gal et al. 2021, §5.3).

Reads a matrix of LPIPS distances (`eval.metrics.lpips_matrix`) and needs no torch.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from eval.metrics.metric import Metric
from nada.run.errors import UserError

INTRA_CLUSTER_LPIPS = Metric("intra_cluster_lpips", "intra-cluster LPIPS", "", maximize=True, digits=3)
CLUSTER_LPIPS_STD = Metric("cluster_lpips_std", "std over clusters", "", maximize=None, digits=3)
MEAN_LPIPS = Metric("mean_lpips", "mean pairwise LPIPS", "", maximize=True, digits=3)
ACCEPTED_LPIPS = Metric("accepted_lpips", "mean LPIPS of accepted", "", maximize=True, digits=3)
METRICS = (INTRA_CLUSTER_LPIPS, CLUSTER_LPIPS_STD, MEAN_LPIPS, ACCEPTED_LPIPS)

#: Clusters and members per cluster of the published protocol (Ojha et al. 2021, §4.1; Gal §5.3).
CLUSTERS, MEMBERS = 10, 50
SEED = 0


@dataclass(frozen=True)
class ClusterDiversity:
    """mean, std: over the clusters that hold a pair. sizes: members of each of the k clusters."""

    mean: float
    std: float
    sizes: tuple[int, ...]

    @property
    def clusters_used(self) -> int:
        """Clusters with at least two members."""
        return sum(size >= 2 for size in self.sizes)


def check_distances(distances: np.ndarray) -> np.ndarray:
    """A square matrix [n,n] of finite distances as float64, or an error that says what is wrong."""
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances: a square matrix wanted, got {list(distances.shape)}")
    if not np.isfinite(distances).all():
        bad = int(np.flatnonzero(~np.isfinite(distances).all(axis=1))[0])
        raise UserError(f"diversity: the distances of image {bad} are not finite")
    return distances


def k_medoids(distances: np.ndarray, k: int = CLUSTERS, seed: int = SEED) -> np.ndarray:
    """Labels [n] in 0..k-1 of scikit-learn-extra's K-medoids on a distance matrix [n,n].

    Pinned: method "pam" (BUILD, then SWAP until nothing improves), init "build", 300 swaps at
    most, random_state = seed (BUILD draws nothing; pinned all the same).
    UserError: k outside 1..n, or a scikit-learn-extra that cannot be imported (0.3 and numpy 2).
    """
    distances = check_distances(distances)
    if not 1 <= k <= len(distances):
        raise UserError(
            f"diversity: k={k} clusters asked of {len(distances)} images; k must lie in"
            f" 1..{len(distances)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports the deprecated distutils versions
            from sklearn_extra.cluster import KMedoids
    except (ImportError, ValueError) as error:  # ValueError: built against another numpy ABI
        raise UserError(
            f"diversity: scikit-learn-extra cannot be imported with numpy {np.__version__}"
            f" ({error}); install the pinned versions, pip install -r requirements.lock, or compile"
            " it (README.md, Another Python)"
        ) from None
    if k == 1:
        return np.zeros(len(distances), dtype=int)
    model = KMedoids(
        k, metric="precomputed", method="pam", init="build", max_iter=300, random_state=seed
    )
    return np.asarray(model.fit(distances).labels_, dtype=int)


def intra_cluster_lpips(
    distances: np.ndarray, k: int = CLUSTERS, members: int = MEMBERS, seed: int = SEED
) -> ClusterDiversity:
    """K-medoids intra-cluster LPIPS diversity; the whole protocol in one place.

    Published (Gal et al. 2021, §5.3, after Ojha et al. 2021, §4.1; author's note in NADA issue 46):
    generate images, cluster them around k = 10 medoids by LPIPS, average the pairwise LPIPS inside
    each cluster, report the mean (and the standard deviation) over clusters.

    Pinned here, where the papers are silent or their script decides:
    - images: 300 of the shared evaluation latents by default (`diversity_images`; the paper gives
      no number; Ojha et al. generate 1000), truncation 1, clusters by `k_medoids`;
    - a cluster with more than `members` = 50 images is cut to 50, drawn without replacement by
      numpy's default generator seeded with `seed`, clusters in the order of their labels;
    - every unordered pair counts once, the medoid is a member like any other;
    - a cluster with a single member has no pair: it is left out, as the NaN that the script drops;
      so is an empty one (it occurs when medoids coincide);
    - mean and population standard deviation over the clusters left, each with weight 1.

    distances: LPIPS [n,n]. A collapsed model scores 0. UserError: k outside 1..n; no cluster has
    two members (k too near n).
    """
    distances = check_distances(distances)
    labels = k_medoids(distances, k, seed)
    generator = np.random.default_rng(seed)
    sizes, means = [], []
    for cluster in range(k):
        index = np.flatnonzero(labels == cluster)
        sizes.append(len(index))
        if len(index) > members:
            index = np.sort(generator.choice(index, members, replace=False))
        if len(index) >= 2:
            means.append(mean_pairwise(distances[np.ix_(index, index)]))
    if not means:
        raise UserError(
            f"diversity: none of the {k} clusters of {len(distances)} images has two members;"
            f" ask for more images or fewer clusters"
        )
    return ClusterDiversity(float(np.mean(means)), float(np.std(means)), tuple(sizes))


def mean_pairwise(distances: np.ndarray) -> float:
    """Mean over the n(n-1)/2 unordered pairs of a symmetric matrix [n,n]; ValueError for n < 2."""
    distances = check_distances(distances)
    if len(distances) < 2:
        raise ValueError("mean_pairwise: at least two images wanted")
    return float(distances[np.triu_indices(len(distances), k=1)].mean())
