"""K-medoids intra-cluster LPIPS diversity on planted clusters, written from the protocol."""

import builtins

import numpy as np
import pytest

from eval.metrics.intra_cluster_lpips import intra_cluster_lpips, k_medoids
from eval.metrics.mean_lpips import mean_pairwise
from nada.run.errors import UserError

needs_package = pytest.mark.usefixtures("scikit_learn_extra")


def planted(sizes, radii, seed=0):
    """Points around far-apart centres and their Euclidean distance matrix."""
    rng = np.random.default_rng(seed)
    centres = 100 * np.eye(len(sizes))
    points = np.concatenate(
        [c + r * rng.normal(size=(n, len(sizes))) for c, n, r in zip(centres, sizes, radii)]
    )
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.linalg.norm(points[:, None] - points[None], axis=-1), labels


@needs_package
def test_k_medoids_finds_planted_clusters():
    distances, truth = planted([12, 20, 8, 15], [1, 1, 1, 1])
    labels = k_medoids(distances, 4)
    for cluster in range(4):
        assert len(set(labels[truth == cluster])) == 1
    assert len(set(labels)) == 4


@needs_package
def test_cluster_diversity_is_the_mean_over_clusters_of_the_mean_over_pairs():
    distances, truth = planted([12, 20, 8], [1, 2, 3])
    means = []
    for cluster in range(3):
        index = np.flatnonzero(truth == cluster)
        pairs = [distances[i, j] for n, i in enumerate(index) for j in index[n + 1 :]]
        means.append(np.mean(pairs))
    result = intra_cluster_lpips(distances, k=3)
    assert result.mean == pytest.approx(np.mean(means)) and result.std == pytest.approx(
        np.std(means)
    )
    assert sorted(result.sizes) == [8, 12, 20] and result.clusters_used == 3


@needs_package
def test_a_cluster_is_cut_to_fifty_members_drawn_with_the_seed():
    distances, _ = planted([90, 10], [1, 1])
    whole = intra_cluster_lpips(distances, k=2, members=1000)
    cut, again, other = (intra_cluster_lpips(distances, k=2, seed=s) for s in (0, 0, 1))
    assert cut == again
    assert cut.mean != other.mean and cut.mean != whole.mean
    assert cut.mean == pytest.approx(whole.mean, rel=0.1)
    assert sorted(cut.sizes) == [10, 90]


@needs_package
def test_single_members_are_left_out():
    distances, truth = planted([12, 1, 9], [1, 1, 1])
    result = intra_cluster_lpips(distances, k=3)
    kept = [mean_pairwise(distances[np.ix_(truth == c, truth == c)]) for c in (0, 2)]
    assert result.mean == pytest.approx(np.mean(kept)) and result.clusters_used == 2


@needs_package
def test_a_collapsed_model_scores_zero():
    assert intra_cluster_lpips(np.zeros((30, 30)), k=10).mean == 0.0


@needs_package
def test_five_repeated_images_score_zero_although_their_plain_mean_does_not():
    distances, _ = planted([6, 6, 6, 6, 6], [0, 0, 0, 0, 0])
    assert intra_cluster_lpips(distances, k=10).mean == 0.0
    assert mean_pairwise(distances) > 1


@needs_package
def test_the_result_repeats_itself():
    distances, _ = planted([30, 30], [1, 1])
    assert intra_cluster_lpips(distances, k=7) == intra_cluster_lpips(distances.copy(), k=7)


@pytest.mark.parametrize("k", [0, 31])
def test_k_out_of_range_is_an_error_that_names_the_range(k):
    with pytest.raises(UserError, match=rf"k={k} .* set k to 1..30"):
        intra_cluster_lpips(np.zeros((30, 30)), k=k)


@needs_package
def test_clusters_of_single_images_only_are_an_error():
    distances, _ = planted([1, 1, 1], [1, 1, 1])
    with pytest.raises(UserError, match="none of the 3 clusters"):
        intra_cluster_lpips(distances, k=3)


def test_a_broken_scikit_learn_extra_is_explained_when_it_is_needed(monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("sklearn_extra"):
            raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(UserError, match="requirements.lock"):
        k_medoids(np.zeros((5, 5)), 2)
