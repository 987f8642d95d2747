"""Bootstrap intervals against normal theory, and what has none."""

import numpy as np
import pytest
from scipy import stats

from eval.latent_space.intervals import (
    Estimate,
    bootstrap,
    bootstrap_mean,
    mean_of_present,
    resampled_means,
    row_counts,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_interval_of_a_mean_is_that_of_normal_theory(rng):
    values = rng.normal(3, 2, 400)
    found = bootstrap_mean(values)
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert (found.value, found.n) == (pytest.approx(values.mean()), 400)
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert bootstrap_mean(values) == found != bootstrap_mean(values, seed=1)


def test_independent_samples_are_resampled_apart(rng):
    a, b = rng.normal(size=300), rng.normal(size=200)
    found = bootstrap(lambda i, j: a[i].mean(axis=-1) - b[j].mean(axis=-1), 300, 200)
    half = 1.96 * np.hypot(a.std() / np.sqrt(300), b.std() / np.sqrt(200))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.n == 200
    same = bootstrap(lambda i: a[i].mean(axis=-1) - a[i].mean(axis=-1), 300)
    assert (same.low, same.high) == (0, 0)


def test_one_row_has_no_interval_and_equal_ones_have_an_empty_one():
    single = bootstrap_mean([4.0])
    assert (single.value, single.n) == (4, 1) and np.isnan([single.low, single.high]).all()
    assert not single.excludes_zero
    same = bootstrap_mean(np.full(5, 4.0))
    assert (same.low, same.high) == (4, 4)
    for bad in ([], [np.nan, 1.0], [[1.0]]):
        with pytest.raises(ValueError, match="one or more finite numbers"):
            bootstrap_mean(bad)
    with pytest.raises(ValueError, match="one row or more"):
        bootstrap(np.mean, 3, 0)


def test_values_that_are_not_there_are_left_out_but_infinite_ones_are_an_error():
    found = mean_of_present([1.0, np.nan, 3.0] * 20)
    assert (found.value, found.n) == (2, 40) and found.low < 2 < found.high
    assert np.isnan(mean_of_present([]).value) and mean_of_present([np.nan]).n == 0
    with pytest.raises(ValueError, match="finite"):
        mean_of_present([np.inf, 1.0, np.nan])


def test_an_interval_excludes_zero_on_either_side():
    assert Estimate(1, 0.5, 2, 9).excludes_zero and Estimate(-1, -2, -0.5, 9).excludes_zero
    assert not Estimate(1, -0.5, 2, 9).excludes_zero


def test_means_of_resampled_rows_are_those_of_looking_each_row_up(rng):
    values, rows = rng.normal(size=(7, 2, 3)), rng.integers(7, size=(4, 5, 9))
    np.testing.assert_allclose(resampled_means(values, rows), values[rows].mean(axis=2), atol=1e-12)
    counts = [[np.bincount(one, minlength=7) for one in part] for part in rows]
    np.testing.assert_array_equal(row_counts(rows, 7), counts)
    assert row_counts(np.array([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
