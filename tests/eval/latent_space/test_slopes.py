"""Slopes of factors over an edit's strength, and leakage."""

import numpy as np
import pytest

from eval.latent_space.slopes import code_slopes, leakage


def test_the_slope_of_each_code_is_numpy_s_least_squares_line():
    rng = np.random.default_rng(0)
    strengths, factors = rng.normal(size=6), rng.normal(size=(6, 4, 3))
    expected = np.polyfit(strengths, factors.reshape(6, -1), 1)[0].reshape(4, 3)
    np.testing.assert_allclose(code_slopes(strengths, factors), expected, atol=1e-12)
    with pytest.raises(ValueError, match="two different ones or more"):
        code_slopes(np.zeros(6), factors)
    with pytest.raises(ValueError, match=r"factors \[S,n,F\] expected"):
        code_slopes(strengths[:5], factors)


def test_leakage_is_the_mean_change_of_the_others_for_a_change_of_one():
    slopes = np.array([[2.0, -1.0, 0.5], [-4.0, 1.0, 1.0]])
    np.testing.assert_allclose(leakage(slopes, 0, [1, 2]), [0.375, 0.25])
    assert leakage(slopes[0], 1, [0]) == pytest.approx(2)
