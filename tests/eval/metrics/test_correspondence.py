"""Correspondence between frozen and adapted images, target rate, intervals over seeds."""

import numpy as np
import pytest
from scipy import stats

from eval.analysis.statistics import t_interval
from eval.metrics.correspondence import (
    factor_bias,
    factor_correlations,
    group_means,
    retrieval_top1,
    source_lpips,
)
from eval.metrics.metric import Metric
from eval.metrics.target import share_called
from nada.run.errors import UserError


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


def test_the_share_called_a_name_counts_the_largest_logit():
    logits = np.array([[2, 1, 0], [0, 3, 1], [0, 1, 5], [1, 9, 2.0]])
    assert share_called(logits, ["dog", "cat", "none of these"], "cat") == 0.5
    with pytest.raises(UserError, match="'bear': the judge knows only dog, cat"):
        share_called(logits, ["dog", "cat", "none of these"], "bear")
    with pytest.raises(UserError, match="not finite"):
        share_called(logits * np.nan, ["dog", "cat", "none of these"], "cat")


def test_the_interval_over_seeds_equals_scipys_t_interval():
    values = [3.1, 2.7, 3.6]
    mean, half = t_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert t_interval([4.0]) == (4.0, None)
    with pytest.raises(ValueError, match="finite"):
        t_interval([1.0, np.nan])


def test_a_metrics_heading_carries_its_unit_and_arrow():
    assert Metric("fid", "FID", "", False, 2).heading == "FID ↓"
    assert Metric("size", "size", "px", None, 0).heading == "size (px)"


def test_bias_is_the_shift_of_means_in_standard_deviations():
    rng = np.random.default_rng(5)
    frozen = np.concatenate(
        [rng.normal(size=(200, 2)) * [1.0, 3.0], np.full((200, 1), 7.0)], axis=1
    )
    moved = frozen + frozen.std(axis=0) * [0.5, -1.5, 0.0]
    assert factor_bias(frozen, moved) == pytest.approx(1.0)  # the third does not vary
    assert factor_bias(frozen, frozen) == 0.0
    assert factor_bias(np.ones((4, 2)), np.zeros((4, 2))) == 0.0
