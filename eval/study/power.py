"""How many raters a preference study needs: the power of a t test over raters (§5.3).

Rater i prefers the other model with probability p_i, drawn with mean `share` and standard deviation `spread`, and
gives m answers about it. Their share y_i then has the variance spread² + (share (1 - share) - spread²) / m. The
test asks whether the mean of y differs from 0.5, two-sided, at ALPHA / models: Bonferroni's bound of Holm's
correction over the models that are compared.
"""

import math

from eval.analysis.statistics import ALPHA
from eval.study.packages import study_packages

#: Standard deviation of preferences between raters, where nothing better is known.
SPREAD = 0.15
#: The usual aim: four of five studies find a difference that is there.
POWER = 0.8
#: The user study of Gal et al. 2021, §5.3.
PAPER_RATERS, PAPER_ANSWERS = 218, 1200


def effect(share: float, answers: float, spread: float = SPREAD) -> float:
    """|share - 0.5| in standard deviations of a rater's share. share, spread in [0,1]; answers ≥ 1 per rater."""
    if not (0 < share < 1 and answers >= 1 and 0 <= spread**2 <= share * (1 - share)):
        raise ValueError(f"no such preference: share {share}, {answers} answers, spread {spread}")
    variance = spread**2 + (share * (1 - share) - spread**2) / answers
    return abs(share - 0.5) / math.sqrt(variance)


def power(raters: int, share: float, answers: float, models: int = 1, spread: float = SPREAD) -> float:
    """The chance in [0,1] that a study finds the difference."""
    with study_packages():
        from statsmodels.stats.power import TTestPower

    return float(TTestPower().power(effect(share, answers, spread), raters, ALPHA / models))


def raters_needed(share: float, answers: float, models: int = 1, spread: float = SPREAD) -> int:
    """The fewest raters with which `power` is at least POWER."""
    with study_packages():
        from statsmodels.stats.power import TTestPower

    size = effect(share, answers, spread)
    asked = TTestPower().solve_power(size, power=POWER, alpha=ALPHA / models)
    return max(2, math.ceil(float(asked)))


def smallest_share(raters: int, answers: float, models: int = 1, spread: float = SPREAD) -> float:
    """The smallest share above 0.5 that `raters` find with POWER, to 0.01; 1.0 where none is."""
    shares = (hundredths / 100 for hundredths in range(51, 100))
    possible = (share for share in shares if spread**2 < share * (1 - share))
    return next((s for s in possible if power(raters, s, answers, models, spread) >= POWER), 1.0)
