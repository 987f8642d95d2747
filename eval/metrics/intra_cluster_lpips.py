"""Intra-cluster LPIPS: the paper's diversity (Gal et al. 2021, §5.3, after Ojha et al. 2021, §4.1).

Computed from a matrix of LPIPS distances (`eval.networks.lpips_matrix` makes it); no torch.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eval.metrics.mean_lpips import check_distances, mean_pairwise
from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

INTRA_CLUSTER_LPIPS = Metric("intra_cluster_lpips", "intra-cluster LPIPS", "", maximize=True, digits=3)
CLUSTER_LPIPS_STD = Metric("cluster_lpips_std", "std over clusters", "", maximize=None, digits=3)
#: Clusters with at least two members; column n of scores.csv holds the k asked for.
CLUSTERS_USED = Metric("clusters_used", "clusters used", "", maximize=None, digits=0)
METRICS = (INTRA_CLUSTER_LPIPS, CLUSTER_LPIPS_STD, CLUSTERS_USED)

#: Clusters, and members per cluster at most, of the published protocol (Ojha et al. 2021, §4.1).
CLUSTERS, MEMBERS = 10, 50
SEED = 0


def values(sample: Sample) -> Iterator[Value]:
    """Mean and standard deviation over clusters; snapshots have too few images for k clusters."""
    if sample.snapshot or sample.raw:
        return
    distances = sample["lpips"]
    result = intra_cluster_lpips(distances, sample.clusters)
    yield Value(INTRA_CLUSTER_LPIPS, result.mean, len(distances))
    yield Value(CLUSTER_LPIPS_STD, result.std, len(distances))
    yield Value(CLUSTERS_USED, result.clusters_used, sample.clusters)


@dataclass(frozen=True)
class ClusterDiversity:
    """mean, std: over the clusters with two members or more. sizes: members of each of the k clusters."""

    mean: float
    std: float
    sizes: tuple[int, ...]

    @property
    def clusters_used(self) -> int:
        """Clusters with at least two members."""
        return sum(size >= 2 for size in self.sizes)


def k_medoids(distances: np.ndarray, k: int = CLUSTERS, seed: int = SEED) -> np.ndarray:
    """Labels [n] in 0..k-1 by scikit-learn-extra's K-medoids on a distance matrix [n,n].

    Method "pam" (BUILD, then SWAP until nothing improves), init "build", at most 300 swaps,
    random_state = seed (which BUILD does not use).
    UserError: k outside 1..n, or scikit-learn-extra cannot be imported (0.3 with numpy 2).
    """
    distances = check_distances(distances)
    if not 1 <= k <= len(distances):
        raise UserError(
            f"intra-cluster LPIPS: k={k} clusters of {len(distances)} images; set k to"
            f" 1..{len(distances)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports the deprecated distutils versions
            from sklearn_extra.cluster import KMedoids
    except (ImportError, ValueError) as error:  # ValueError: built against another numpy ABI
        raise UserError(
            f"intra-cluster LPIPS: scikit-learn-extra cannot be imported with numpy {np.__version__}"
            f" ({error}); install the pinned versions, pip install -r requirements.lock, or compile"
            " it (docs/quick-start.md, Other versions of Python)"
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
    """Mean LPIPS between images of one cluster, averaged over K-medoids clusters.

    Published (Gal et al. 2021, §5.3, after Ojha et al. 2021, §4.1; author's note in NADA issue 46):
    generate images, cluster them around k = 10 medoids by LPIPS, average the pairwise LPIPS inside
    each cluster, report the mean (and the standard deviation) over clusters.

    Fixed here, where the papers are silent or follow their script:
    - images: 300 of the shared evaluation latents by default (`diversity_images`; the paper gives
      no number, Ojha et al. generate 1000), truncation 1;
    - of a cluster with more than `members` images, that many are drawn without replacement by
      numpy's default generator with `seed`, clusters in the order of their labels;
    - every unordered pair counts once; the medoid is a member like any other;
    - clusters with one member are left out (the script drops their NaN), and so are empty ones, which
      occur when medoids coincide;
    - mean and population standard deviation over the other clusters, each with weight 1.

    distances: LPIPS [n,n]. Range: 0 (a collapsed model) or more. UserError: k outside 1..n, or no
    cluster has two members (k too near n).
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
            f"intra-cluster LPIPS: none of the {k} clusters of {len(distances)} images has two members;"
            f" ask for more images or fewer clusters"
        )
    return ClusterDiversity(float(np.mean(means)), float(np.std(means)), tuple(sizes))
