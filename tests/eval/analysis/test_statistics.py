"""Intervals, exact tests and verdicts over seeds, against brute force, scipy and closed forms."""

import itertools

import numpy as np
import pytest
from scipy import stats

from eval.analysis.statistics import (
    FAILS,
    HOLDS,
    UNDECIDED,
    holm,
    seeds_needed,
    sign_flip_p,
    t_interval,
    verdicts,
)
from nada.run.errors import UserError

ALTERNATIVES = ("greater", "less", "two-sided")


def draws(count, seed=0, shift=0.4):
    return np.random.default_rng(seed).normal(shift, 1, count)


def test_the_interval_is_scipys_student_interval():
    values = draws(7)
    mean, half = t_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert t_interval([3.0]) == (3.0, None)
    with pytest.raises(ValueError, match="finite"):
        t_interval([1.0, np.nan])


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_the_sign_flip_test_is_scipys_exact_permutation_test(count, alternative):
    values = draws(count, seed=count)
    wanted = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        alternative=alternative,
        n_resamples=np.inf,
        vectorized=False,
    )
    assert sign_flip_p(values, alternative) == pytest.approx(wanted.pvalue, abs=1e-12)


def test_the_sign_flip_test_counts_every_choice_of_signs_and_ties_too():
    values = np.array([0.1, 0.2, 0.3, -0.1, 0.0])  # several sums tie with the observed one
    flipped = [np.dot(s, values) for s in itertools.product((1, -1), repeat=5)]
    wanted = np.mean([total >= values.sum() - 1e-9 for total in flipped])
    assert sign_flip_p(values) == wanted


@pytest.mark.parametrize("count", [4, 5, 6])
def test_the_least_p_value_is_set_by_the_number_of_seeds(count):
    assert sign_flip_p(np.ones(count) * 3) == 2.0**-count
    assert sign_flip_p(np.ones(count) * 3, "two-sided") == 2.0 ** (1 - count)
    assert sign_flip_p(np.zeros(count)) == 1.0


def test_more_seeds_than_a_list_of_all_sums_could_hold_are_still_tested_exactly():
    assert sign_flip_p(np.ones(40)) == pytest.approx(2.0**-40, rel=1e-3)
    assert sign_flip_p(np.ones(30), "two-sided") == pytest.approx(2.0**-29, rel=1e-6)


def test_the_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(5)
    p = np.array([sign_flip_p(rng.normal(size=6)) for _ in range(2000)])
    for level in (1 / 64, 4 / 64, 16 / 64):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2000))


def closed_testing(p):
    """Holm by its definition: the largest Bonferroni p of all sets of claims that hold each one."""
    sets = [s for n in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), n)]
    return [
        max(min(1, len(s) * min(p[i] for i in s)) for s in sets if j in s) for j in range(len(p))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closed_test_with_bonferroni(seed):
    p = np.random.default_rng(seed).uniform(0, 0.4, 5)
    assert holm(p) == pytest.approx(closed_testing(p))
    assert holm([]).size == 0


def test_as_good_as_shifts_the_differences_by_the_margin():
    slightly_worse = np.array([-0.1, -0.2, -0.1, -0.05, -0.15])
    assert sign_flip_p(slightly_worse) == 1.0
    assert verdicts([(slightly_worse, 0.0)])[0].p == 1.0
    assert verdicts([(slightly_worse, 0.3)])[0].p == 2.0**-5


def test_a_verdict_needs_five_seeds_and_a_corrected_p():
    better, worse = np.array([1, 2, 1.5, 1.2, 0.8]), -np.array([1, 2, 1.5, 1.2, 0.8])
    (alone,) = verdicts([(better, 0.0)])
    assert (alone.outcome, alone.p, alone.n) == (HOLDS, 2.0**-5, 5)
    assert (alone.mean, alone.half_width) == t_interval(better)
    assert verdicts([(worse, 0.0)])[0].outcome == FAILS
    assert verdicts([(better[:4], 0.0)])[0].outcome == UNDECIDED
    # two claims at five seeds: Holm doubles 1/32, and nothing is decided
    assert [v.outcome for v in verdicts([(better, 0.0), (better, 0.0)])] == [UNDECIDED] * 2
    six = np.append(better, 1.1)
    assert [v.outcome for v in verdicts([(six, 0.0), (six, 0.0)])] == [HOLDS] * 2
    for claims in (1, 2, 3, 8):
        least = seeds_needed(claims)
        together = [(np.ones(least), 0.0)] * claims
        assert all(v.outcome == HOLDS for v in verdicts(together))
        if least > 5:
            together = [(np.ones(least - 1), 0.0)] * claims
            assert all(v.outcome == UNDECIDED for v in verdicts(together))
    assert [seeds_needed(claims) for claims in (1, 2, 8)] == [5, 6, 8]
    assert verdicts([(worse, 3.0)])[0].outcome == HOLDS  # as good as, within a wide margin


def test_values_that_cannot_be_tested_are_refused():
    for bad in ([], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="differences"):
            sign_flip_p(bad)
    with pytest.raises(UserError, match="41 paired seeds are too many"):
        sign_flip_p(np.ones(41))
