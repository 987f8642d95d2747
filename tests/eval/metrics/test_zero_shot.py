"""The share of images that a held-out CLIP places nearer to the first text."""

import numpy as np
import pytest

from eval.metrics import zero_shot
from eval.metrics.sample import Sample
from eval.metrics.zero_shot import first_share
from eval.observation import Observation
from nada.run.errors import UserError


def test_the_share_counts_the_larger_cosine_and_a_draw_as_half():
    assert first_share(np.array([[0.3, 0.2], [0.1, 0.2], [-0.1, -0.2], [0.2, 0.2]])) == 2.5 / 4
    cosines = np.random.default_rng(0).normal(size=(9, 2))
    assert first_share(cosines) + first_share(cosines[:, ::-1]) == 1


def test_a_cosine_that_is_not_finite_and_another_shape_are_refused():
    with pytest.raises(UserError, match="cosines are not finite"):
        first_share(np.array([[np.nan, 0.1]]))
    for shape in ((0, 2), (3, 3), (4,)):
        with pytest.raises(ValueError, match=r"\[N>=1,2\] expected"):
            first_share(np.zeros(shape))


def test_only_what_a_held_out_clip_compared_has_a_value():
    seen = Observation({}, {"seed0/text_cosines": np.array([[0.3, 0.2], [0.1, 0.2]]), "seed1/images": np.zeros(1)})
    shares = [[v.value for v in zero_shot.values(Sample(seen, f"seed{s}", "x", None, 2))] for s in (0, 1)]
    assert shares == [[0.5], []]
