"""Memorisation and realism on constructed cases, against their definitions."""

import numpy as np
import pytest

from eval.memorisation import QUANTILE, memorised, nearest
from eval.pareto import pareto_front
from eval.realism import preference, realism
from nada.errors import UserError


def test_the_nearest_of_images_and_mirrors_counts():
    assert nearest(np.array([[0.3, 0.1], [0.0, 0.5]])).tolist() == [0.1, 0.0]
    with pytest.raises(UserError, match="not finite"):
        nearest(np.array([[np.nan, 1.0]]))


def test_replayed_images_are_memorised_and_fresh_ones_are_not():
    rng = np.random.default_rng(0)
    fresh = rng.uniform(0.5, 1.5, 400)
    assert memorised(np.zeros(50), fresh) == 1.0
    assert memorised(rng.uniform(0.5, 1.5, 4000), fresh) == pytest.approx(QUANTILE, abs=0.02)
    assert memorised(np.full(10, 2.0), fresh) == 0.0
    with pytest.raises(UserError, match="19 real images"):
        memorised(np.zeros(5), fresh[:19])


def test_realism_is_the_largest_ratio_of_radius_and_distance():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(60, 4))
    points = rng.normal(size=(7, 4))
    distances = np.linalg.norm(reference[:, None] - reference[None], axis=2)
    radius = np.sort(distances, axis=1)[:, 3]  # itself comes first
    kept = radius <= np.median(radius)
    expected = [
        max(r / np.linalg.norm(p - x) for r, x in zip(radius[kept], reference[kept], strict=True))
        for p in points
    ]
    np.testing.assert_allclose(realism(points, reference), expected, rtol=1e-9)


def test_a_picture_nearer_to_the_real_ones_wins():
    reference = np.random.default_rng(2).normal(size=(200, 3))
    near, far = reference[:20] + 0.01, reference[:20] + 5
    assert preference(realism(near, reference), realism(far, reference)) == 1.0
    assert preference(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 4.0])) == 0.5


def test_the_front_holds_what_no_other_beats():
    x, y = [0.1, 0.5, 0.9, 0.5, 0.9], [0.9, 0.5, 0.1, 0.4, 0.1]
    assert pareto_front(x, y).tolist() == [True, True, True, False, True]
