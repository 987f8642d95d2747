"""Scores of inversion against closed forms."""

import numpy as np
import pytest
from scipy import stats

from eval.latent_space.inversion import (
    FACTORS,
    METRICS,
    RECONSTRUCTION_L2,
    RECONSTRUCTION_LPIPS,
    editability,
    factor_correlation,
    identity,
    leaked,
    paired_difference,
    reconstruction,
    retrieval_hits,
    seconds_per_picture,
    squared_differences,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_paired_values_leave_out_what_the_pictures_share(rng):
    shared = rng.normal(0, 100, 50)
    found = paired_difference(shared + 1, shared + rng.normal(0, 0.1, 50))
    assert 0.9 < found.low < found.value < found.high < 1.1
    with pytest.raises(ValueError, match="equal"):
        paired_difference(shared, shared[1:])


# Reconstruction ------------------------------------------------------------------------------------


def test_l2_is_in_units_of_pixels_from_minus_1_to_1(rng):
    black, white = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    np.testing.assert_allclose(squared_differences(black, white), 4)
    images = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    other = rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    as_floats = [pixels.astype(np.float32) / 127.5 - 1 for pixels in (images, other)]
    np.testing.assert_allclose(squared_differences(images, other), squared_differences(*as_floats), rtol=1e-5)
    with pytest.raises(ValueError, match="equal arrays"):
        squared_differences(images, as_floats[1])


def test_reconstruction_uses_the_distance_of_each_picture_to_itself():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    distances = np.array([[0.1, 9, 9], [9, 0.2, 9], [9, 9, 0.6]])
    found = reconstruction(images, images, distances)
    assert found[RECONSTRUCTION_L2.name].value == 0
    assert found[RECONSTRUCTION_LPIPS.name].value == pytest.approx(0.3)
    assert found == reconstruction(images, images, np.diagonal(distances))
    with pytest.raises(ValueError, match="those of 3 pictures"):
        reconstruction(images, images, distances[:2, :2])


# Identity ------------------------------------------------------------------------------------------


def test_the_own_picture_is_found_among_further_ones():
    distances = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [5, 5, 2, 2.0]])
    np.testing.assert_allclose(retrieval_hits(distances), [1, 0, 0.5])
    assert identity(distances).value == pytest.approx(0.5)
    assert identity(np.ones((8, 128))).value == pytest.approx(1 / 128)  # collapsed: chance
    with pytest.raises(ValueError, match="N >= n"):
        retrieval_hits(np.ones((3, 2)))


def test_factor_correlation_is_the_mean_of_pearsons(rng):
    factors = rng.normal(size=(200, 2))
    inverted = np.stack([2 * factors[:, 0] + 1, factors[:, 1] + rng.normal(size=200)], axis=1)
    found = factor_correlation(factors, inverted)
    expected = np.mean([stats.pearsonr(factors[:, i], inverted[:, i])[0] for i in range(2)])
    assert found.value == pytest.approx(expected)
    # the first factor is exact: the interval is half that of the second
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx((1 - (2 * expected - 1) ** 2) / np.sqrt(200) * 1.96, rel=0.25)
    constant = np.stack([np.ones(20), factors[:20, 1]], axis=1)
    assert factor_correlation(factors[:20], constant).value == pytest.approx(0.5)


# Editability ---------------------------------------------------------------------------------------


def test_an_edit_of_half_the_effect_has_half_the_ratio(rng):
    spread = np.array([1.0, 2.0, 4.0])
    mapped = np.array([2.0, 0.4, 0]) + 0.2 * rng.normal(size=(300, 3))
    inverted = np.array([1.0, 0.4, 0.8]) + 0.2 * rng.normal(size=(200, 3))
    found = editability(mapped, inverted, 0, spread)
    assert found.ratio.value == pytest.approx(inverted[:, 0].mean() / mapped[:, 0].mean())
    assert found.ratio.low < 0.5 < found.ratio.high
    # delta method: the relative errors of both means add up
    error = 0.5 * np.hypot(0.2 / np.sqrt(200) / 1, 0.2 / np.sqrt(300) / 2)
    assert found.ratio.high - found.ratio.low == pytest.approx(2 * 1.96 * error, rel=0.25)
    # the others move by 0.4/2 and 0.8/4 of their spread, the edited one by 1/1
    assert found.leakage.value == pytest.approx(0.2, abs=0.02)
    assert (found.mapped.n, found.inverted.n, found.ratio.n) == (300, 200, 200)


def test_an_edit_without_effect_has_no_ratio(rng):
    nothing = rng.normal(size=(400, 2))
    nothing -= nothing.mean(axis=0)
    found = editability(nothing, nothing + 1, 0, np.ones(2))
    assert np.isnan([found.ratio.value, found.ratio.low, found.leakage.value]).all()
    assert found.inverted.value == pytest.approx(1)
    assert np.isnan(editability(nothing + 1, nothing, 0, np.ones(2)).leakage.value)
    with pytest.raises(ValueError, match=r"spread \[F\]"):
        editability(nothing, nothing, 0, np.ones(3))


def test_factors_that_do_not_vary_do_not_leak():
    moved = np.array([2.0, 1.0, 5.0])
    assert leaked(moved, 0, np.array([1.0, 1.0, 0.0])) == pytest.approx(0.5)
    assert leaked(moved, 0, np.array([1.0, 0.0, 0.0])) == 0


# Cost ----------------------------------------------------------------------------------------------


def test_seconds_are_those_of_one_picture():
    found = seconds_per_picture(np.array([2.0, 4.0, 6.0]), pictures=4)
    assert (found.value, found.n) == (1, 3)
    assert 0.5 <= found.low <= 1 <= found.high <= 1.5
    with pytest.raises(ValueError, match="1 or more pictures"):
        seconds_per_picture(np.array([1.0]), 0)


def test_metrics_have_names_of_their_own():
    assert len({metric.name for metric in METRICS}) == len(METRICS) == 6
    assert FACTORS.heading == "factor correlation ↑"
