"""Scores of an edit on planted slopes: in both models, their ratio, leakage, intervals, what is undefined."""

import numpy as np
import pytest

from eval.latent_space.editing import (
    EDIT_KEPT,
    EDIT_LEAKAGE,
    EDIT_SLOPE,
    edit_scores,
    other_factors,
    values,
)
from eval.latent_space.slopes import code_slopes
from nada.run.errors import UserError

STRENGTHS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def planted(slopes, count=400, jitter=0.0, units=1.0, seed=0):
    """Factors [5,count,F] with these mean slopes, in σ of the unedited pictures (σ = `units`)."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(7).normal(size=(count, len(slopes)))
    base = (base - base.mean(axis=0)) / base.std(axis=0)
    own = np.asarray(slopes) + jitter * rng.normal(size=base.shape)
    return units * (base + STRENGTHS[:, None, None] * own)


def test_planted_slopes_their_ratio_and_leakage_are_found():
    source, target = planted([1.0, 0.2, -0.1, 0.0]), planted([0.5, 0.3, 0.0, -0.1])
    scores = edit_scores(STRENGTHS, source, target, 0, [1, 2, 3], seed=0)
    assert scores.source_slope.value == pytest.approx(1)
    assert scores.target_slope.value == pytest.approx(0.5)
    assert scores.kept.value == pytest.approx(0.5)
    assert scores.source_leakage.value == pytest.approx(0.1)
    assert scores.target_leakage.value == pytest.approx(0.4 / 3 / 0.5)
    # every code has the same slopes: the intervals have no width
    for estimate in (scores.source_slope, scores.kept, scores.target_leakage):
        assert estimate.high - estimate.low == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(scores.target_slopes, [0.5, 0.3, 0, -0.1], atol=1e-12)
    assert scores.codes == 400


def test_the_interval_of_a_slope_is_that_of_its_standard_error():
    source = planted([1.0, 0.0], jitter=0.5)
    scores = edit_scores(STRENGTHS, source, source, 0, [1], seed=0)
    own = code_slopes(STRENGTHS, source)[:, 0]  # σ is 1
    half = 1.96 * own.std(ddof=1) / np.sqrt(len(own))
    assert scores.source_slope.value == pytest.approx(own.mean())
    assert scores.source_slope.high - own.mean() == pytest.approx(half, rel=0.12)
    assert own.mean() - scores.source_slope.low == pytest.approx(half, rel=0.12)


def test_the_interval_of_the_ratio_is_fieller_s():
    """An independent interval of a ratio of paired means, with correlated slopes."""
    rng = np.random.default_rng(3)
    base, shared = rng.normal(size=(300, 1)), rng.normal(size=(300, 1))
    base = (base - base.mean()) / base.std()
    first = 1.0 + 0.6 * shared
    second = 0.7 + 0.5 * shared + 0.3 * rng.normal(size=(300, 1))
    source, target = (base + STRENGTHS[:, None, None] * own for own in (first, second))
    scores = edit_scores(STRENGTHS, source, target, 0, [], seed=0)
    x, y, n, z = first[:, 0], second[:, 0], 300, 1.96
    cov = np.cov(x, y) / n
    # roots of (ȳ − r x̄)² = z² (var y − 2 r cov + r² var x)
    a = x.mean() ** 2 - z**2 * cov[0, 0]
    b = -2 * (x.mean() * y.mean() - z**2 * cov[0, 1])
    c = y.mean() ** 2 - z**2 * cov[1, 1]
    low, high = sorted(np.roots([a, b, c]))
    assert scores.kept.value == pytest.approx(y.mean() / x.mean())
    width = high - low
    assert scores.kept.low == pytest.approx(low, abs=0.1 * width)
    assert scores.kept.high == pytest.approx(high, abs=0.1 * width)
    assert np.isnan(scores.source_leakage.value)  # there are no other factors


def test_scores_do_not_depend_on_the_units_of_factors_and_scale_with_those_of_the_edit():
    slopes = [1.0, 0.2, -0.1], [0.5, 0.3, 0.0]
    units = np.array([10.0, 0.01, 3.0])
    plain = [planted(s, jitter=0.3, seed=i) for i, s in enumerate(slopes)]
    scaled = [planted(s, jitter=0.3, units=units, seed=i) for i, s in enumerate(slopes)]
    first = edit_scores(STRENGTHS, *plain, 0, [1, 2], seed=0)
    second = edit_scores(STRENGTHS, *scaled, 0, [1, 2], seed=0)
    for name in ("source_slope", "target_slope", "kept", "source_leakage", "target_leakage"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    longer = edit_scores(10 * STRENGTHS, *plain, 0, [1, 2], seed=0)
    assert longer.source_slope.value == pytest.approx(first.source_slope.value / 10)
    assert longer.kept.value == pytest.approx(first.kept.value)


def test_an_edit_without_effect_in_the_source_has_no_ratio_and_no_leakage():
    nothing, something = planted([0.0, 0.2], jitter=0.5), planted([0.5, 0.2], jitter=0.5, seed=1)
    nothing[:, :, 0] -= STRENGTHS[:, None] * code_slopes(STRENGTHS, nothing)[:, 0].mean()
    scores = edit_scores(STRENGTHS, nothing, something, 0, [1], seed=0)
    assert np.isnan(scores.kept.value) and np.isnan(scores.source_leakage.value)
    assert scores.target_leakage.value > 0
    assert [value.metric for value in values(scores)] == [EDIT_SLOPE, EDIT_LEAKAGE]
    back = edit_scores(STRENGTHS, something, nothing, 0, [1], seed=0)
    assert back.kept.low < 0 < back.kept.high and np.isnan(back.target_leakage.value)
    assert {v.metric: v.n for v in values(back)} == {EDIT_SLOPE: 400, EDIT_KEPT: 400}


def test_factors_that_do_not_vary_are_left_out_of_the_leakage():
    source, target = planted([1.0, 0.2, 0.0]), planted([1.0, 0.2, 0.0])
    source[:, :, 2] = target[:, :, 2] = 3.0
    scores = edit_scores(STRENGTHS, source, target, 0, [1, 2], seed=0)
    assert scores.source_leakage.value == pytest.approx(0.2)
    assert np.isnan(scores.source_slopes[2])
    with pytest.raises(UserError, match="^smile: the factor asked for does not vary"):
        edit_scores(STRENGTHS, source, target, 2, [0, 1], seed=0, name="smile")


def test_an_edit_of_a_colour_may_move_all_channels_of_that_colour():
    names = ["yaw", "smile", "fur_r", "fur_g", "fur_b", "background_r"]
    assert other_factors(names, "fur_g") == [0, 1, 5]
    assert other_factors(names, "yaw") == [1, 2, 3, 4, 5]
    with pytest.raises(UserError, match="factor 'age': the judge estimates yaw, smile"):
        other_factors(names, "age")


def test_what_cannot_be_scored_is_one_sentence():
    factors = planted([1.0, 0.0])
    with pytest.raises(UserError, match="lack 0, the unedited picture; add it"):
        edit_scores(STRENGTHS + 5, factors, factors, 0, [1], seed=0)
    with pytest.raises(UserError, match="1 codes were edited; give 2 or more"):
        edit_scores(STRENGTHS, factors[:, :1], factors[:, :1], 0, [1], seed=0)
    broken = factors.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="the judge's factors are not finite"):
        edit_scores(STRENGTHS, factors, broken, 0, [1], seed=0)
    with pytest.raises(ValueError, match="equal"):
        edit_scores(STRENGTHS, factors, factors[:, :5], 0, [1], seed=0)
