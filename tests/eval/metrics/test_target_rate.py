"""The share of images that the judge classifies as one class."""

import numpy as np
import pytest

from eval.metrics.target_rate import share_called
from nada.run.errors import UserError


def test_the_share_called_a_name_counts_the_largest_logit():
    logits = np.array([[2, 1, 0], [0, 3, 1], [0, 1, 5], [1, 9, 2.0]])
    assert share_called(logits, ["dog", "cat", "none of these"], "cat") == 0.5
    with pytest.raises(UserError, match="'bear': the judge knows only dog, cat"):
        share_called(logits, ["dog", "cat", "none of these"], "bear")
    with pytest.raises(UserError, match="not finite"):
        share_called(logits * np.nan, ["dog", "cat", "none of these"], "cat")
