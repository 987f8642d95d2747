"""How fast measuring is: pairwise LPIPS against the package's loop, features, K-medoids."""

import time
import warnings

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance

from eval.metrics.fid import fid, gaussian_statistic
from eval.metrics.intra_cluster_lpips import intra_cluster_lpips
from eval.networks.features import CleanFidModel, batches, stream_features
from eval.networks.lpips_matrix import lpips_matrix, lpips_model
from eval.networks.referee import PerceptualNet
from nada.images.tensors import to_tensor

IMAGES, TIMED_PAIRS = 300, 500
#: What the matrix product must save at least over the loop over pairs.
LEAST_RATIO = 30


@pytest.fixture(scope="module")
def perceptual():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return PerceptualNet(["dog"], ["photo"], ["yaw"]).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)


def test_the_lpips_matrix_of_300_images_is_30_times_the_loop_over_pairs(
    benchmark, perceptual, images
):
    images = images[:IMAGES]
    model = lpips_model(perceptual)
    pairs = [(i, j) for i in range(IMAGES) for j in range(i + 1, IMAGES)]
    chosen = np.random.default_rng(1).choice(len(pairs), TIMED_PAIRS, replace=False)
    tensors = to_tensor(images)

    start = time.perf_counter()
    with torch.inference_mode():
        slow = [
            model(tensors[i : i + 1], tensors[j : j + 1]).item()
            for i, j in (pairs[k] for k in chosen)
        ]
    loop = (time.perf_counter() - start) * len(pairs) / TIMED_PAIRS

    start = time.perf_counter()
    matrix = lpips_matrix(perceptual, images)
    once = time.perf_counter() - start
    fast = [matrix[pairs[k]] for k in chosen]
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-6)

    benchmark.extra_info.update(loop_s=loop, matrix_s=once, ratio=loop / once)
    print(f"\nloop {loop:.1f} s (extrapolated), matrix {once:.2f} s: {loop / once:.0f} times")
    benchmark.pedantic(lpips_matrix, (perceptual, images), rounds=3)
    assert loop / once >= LEAST_RATIO


def test_features_of_1000_images(benchmark, perceptual, images):
    model = CleanFidModel(perceptual)
    features = benchmark.pedantic(
        lambda: stream_features(batches(images, 50), model), rounds=3, warmup_rounds=1
    )
    assert features.shape == (1000, 128)


def test_cluster_diversity_of_1000_images(benchmark, scikit_learn_extra):
    points = np.random.default_rng(0).normal(size=(1000, 20))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    result = benchmark.pedantic(intra_cluster_lpips, (distances,), rounds=3)
    assert sum(result.sizes) == 1000


def test_fid_against_a_reference_met_before_is_4_times_clean_fid_s(benchmark):
    rng = np.random.default_rng(0)
    a, b = (gaussian_statistic(rng.normal(size=(1500, 1024)) @ rng.normal(size=(1024, 1024))) for _ in range(2))  # fmt: skip
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy: sqrtm's disp argument
        theirs = frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    slow = time.perf_counter() - start
    assert fid(a, b) == pytest.approx(theirs, rel=1e-9)  # the root of b is made here
    start = time.perf_counter()
    fid(a, b)
    fast = time.perf_counter() - start
    benchmark.extra_info.update(clean_fid_s=slow, ours_s=fast, ratio=slow / fast)
    print(f"\nclean-fid {slow:.2f} s, ours {fast:.2f} s: {slow / fast:.0f} times")
    benchmark.pedantic(fid, (a, b), rounds=3)
    assert slow / fast >= 4
