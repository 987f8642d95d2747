"""Correspondence between the frozen and the adapted images of one latent code."""

import numpy as np
import pytest
from scipy import stats

from eval.metrics.correspondence import (
    factor_bias,
    factor_correlations,
    group_means,
    retrieval_top1,
    source_lpips,
)


def test_an_unchanged_model_retrieves_every_source_and_a_shuffled_one_none():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 8))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert retrieval_top1(distances) == 1.0 and source_lpips(distances) == 0.0
    shuffled = np.roll(distances, 1, axis=0)
    assert retrieval_top1(shuffled) == 0.0
    assert source_lpips(shuffled) == pytest.approx(np.mean(np.diag(shuffled)))


def test_a_collapsed_model_retrieves_no_more_than_chance():
    assert retrieval_top1(np.ones((16, 16))) == pytest.approx(1 / 16)


def test_factor_correlations_equal_scipys_pearson():
    rng = np.random.default_rng(1)
    frozen = rng.normal(size=(50, 3))
    adapted = 0.5 * frozen + rng.normal(size=(50, 3)) * [0.1, 1, 3]
    wanted = [stats.pearsonr(frozen[:, f], adapted[:, f])[0] for f in range(3)]
    np.testing.assert_allclose(factor_correlations(frozen, adapted), wanted, rtol=1e-10)


def test_a_factor_that_no_longer_varies_correlates_with_nothing():
    frozen = np.random.default_rng(2).normal(size=(30, 2))
    adapted = frozen.copy()
    adapted[:, 1] = 0.3
    np.testing.assert_allclose(factor_correlations(frozen, adapted), [1.0, 0.0])


def test_factors_are_grouped_into_colours_and_pose():
    names = ["shift_x", "yaw", "background_r", "background_g", "fur_b"]
    assert group_means(np.array([0.2, 0.4, 0.6, 1.0, 0.5]), names) == pytest.approx(
        {"pose": 0.3, "background": 0.8, "fur": 0.5}
    )


def test_bias_is_the_shift_of_means_in_standard_deviations():
    rng = np.random.default_rng(5)
    frozen = np.concatenate(
        [rng.normal(size=(200, 2)) * [1.0, 3.0], np.full((200, 1), 7.0)], axis=1
    )
    moved = frozen + frozen.std(axis=0) * [0.5, -1.5, 0.0]
    assert factor_bias(frozen, moved) == pytest.approx(1.0)  # the third does not vary
    assert factor_bias(frozen, frozen) == 0.0
    assert factor_bias(np.ones((4, 2)), np.zeros((4, 2))) == 0.0
