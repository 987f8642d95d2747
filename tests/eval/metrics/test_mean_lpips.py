"""The plain mean of pairwise LPIPS."""

import numpy as np
import pytest

from eval.metrics.mean_lpips import mean_pairwise
from nada.run.errors import UserError


def test_distances_that_are_not_finite_are_an_error_that_names_the_image():
    distances = np.zeros((20, 20))
    distances[13, 2] = np.nan
    with pytest.raises(UserError, match="image 13"):
        mean_pairwise(distances)
