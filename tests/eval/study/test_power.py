"""The power calculation against simulated studies, and what its command says."""

import numpy as np
import pytest
from scipy import stats

from eval.study import power
from eval.study.__main__ import main

pytest.importorskip("statsmodels", reason="the packages of the extra `study` are not installed")


@pytest.mark.parametrize(("raters", "share", "answers", "spread"), [(40, 0.6, 4, 0.15), (218, 0.55, 2, 0.1), (30, 0.3, 6, 0.2)])
def test_the_power_is_the_share_of_simulated_studies_that_find_the_difference(raters, share, answers, spread):
    draw, both = np.random.default_rng(0), share * (1 - share) / spread**2 - 1
    chances = draw.beta(share * both, (1 - share) * both, (4000, raters))
    shares = draw.binomial(answers, chances) / answers
    found = (stats.ttest_1samp(shares, 0.5, axis=1).pvalue < power.ALPHA).mean()
    assert power.power(raters, share, answers, spread=spread) == pytest.approx(found, abs=0.03)


def test_the_fewest_raters_have_the_power_that_is_asked_for_and_one_fewer_has_not():
    for share, models in ((0.6, 1), (0.7, 20)):
        needed = power.raters_needed(share, 2, models)
        assert power.power(needed, share, 2, models) >= power.POWER > power.power(needed - 1, share, 2, models)
        smallest = power.smallest_share(needed, 2, models)
        assert smallest <= share and power.power(needed, smallest - 0.01, 2, models) < power.POWER


def test_more_answers_of_one_person_help_less_than_more_people():
    assert power.power(40, 0.6, 8) < power.power(80, 0.6, 4) < power.power(320, 0.6, 1)


def test_the_command_says_what_the_papers_study_finds_and_refuses_nonsense(capsys):
    assert main(["power", "--answers", str(power.PAPER_ANSWERS / power.PAPER_RATERS)]) == 0
    said = capsys.readouterr().out
    assert "218 people" in said and "shares of 0.55 and more" in said
    for words in (["--share", "1.2"], ["--share", "0.5"], ["--answers", "0"], ["--spread", "0.9"], ["--models", "0"],
                  ["--raters", "1"]):  # fmt: skip
        assert main(["power", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
