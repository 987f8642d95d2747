"""Memorisation and realism on constructed cases, against their definitions."""

import numpy as np
import pytest

from eval.figures.pareto import pareto_front
from eval.metrics.catalogue import memorisation_values
from eval.metrics.memorisation import QUANTILE, memorised, nearest
from eval.metrics.realism import preference, realism
from eval.observation import Observation
from nada.run.errors import UserError


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
    with pytest.raises(UserError, match="19 new real images"):
        memorised(np.zeros(5), fresh[:19])


@pytest.mark.parametrize("share", [0, 0.02, 0.051, 0.2])
def test_copies_of_training_images_among_the_real_ones_hide_no_replay(share):
    rng = np.random.default_rng(0)
    fresh = rng.uniform(0.5, 1.5, 400)
    fresh[: round(share * 400)] = rng.uniform(0, 1e-6, round(share * 400))  # equal but for rounding
    assert memorised(np.zeros(300), fresh) == 1.0
    new_pictures = memorised(rng.uniform(0.5, 1.5, 4000), fresh)
    assert new_pictures == pytest.approx(QUANTILE, abs=0.04)


def test_a_set_of_copies_alone_has_no_new_pictures_to_compare_with():
    with pytest.raises(UserError, match=r"19 new real images .*\(381 more are copies of training"):
        memorised(np.zeros(5), np.concatenate([np.zeros(381), np.ones(19)]))


@pytest.mark.parametrize(("new", "found"), [(20, ["nearest_training_lpips", "memorised"]), (19, ["nearest_training_lpips"])])
def test_a_run_with_too_few_new_pictures_has_no_share_of_memorised_ones(new, found):
    fresh = np.concatenate([np.zeros(5), np.ones(new)])[:, None]
    looked = Observation({}, {"seed0/training_lpips": np.ones((4, 2)), "seed0/fresh_lpips": fresh})
    assert [value.metric.name for value in memorisation_values(looked, "seed0")] == found


def test_realism_does_not_depend_on_how_often_a_real_image_stands_in_the_set():
    rng = np.random.default_rng(4)
    reference, points = rng.normal(size=(80, 6)), rng.normal(size=(20, 6))
    np.testing.assert_array_equal(
        realism(points, np.tile(reference, (5, 1))), realism(points, reference)
    )


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
