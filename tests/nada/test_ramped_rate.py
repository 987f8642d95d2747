"""The ramped learning rate against its formula."""

import math

import pytest

from nada.ramped_rate import ramped_rate


def test_the_rate_rises_for_5_percent_and_falls_as_a_cosine_over_the_last_quarter():
    rates = [ramped_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:6] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[5:76] == pytest.approx([0.1] * 71)
    falling = [0.05 * (1 + math.cos(math.pi * (step - 75) / 25)) for step in range(75, 100)]
    assert rates[75:] == pytest.approx(falling)
