"""Precision and recall against brute force, closed forms, and the refusal of bad input."""

import numpy as np
import pytest

from eval.metrics.precision_recall import precision_recall, repeats
from nada.run.errors import UserError


def brute_force(real, fake, k):
    """The definition, point by point: Kynkäänniemi et al. 2019, Eq. 1-3."""

    def covered(points, centres):
        inside = 0
        for x in points:
            for i, c in enumerate(centres):
                others = [np.linalg.norm(c - o) for j, o in enumerate(centres) if j != i]
                if np.linalg.norm(x - c) <= sorted(others)[k - 1]:
                    inside += 1
                    break
        return inside / len(points)

    return covered(fake, real), covered(real, fake)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_the_definition_point_by_point(k):
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(50, 6)), rng.normal(0.7, 0.8, size=(40, 6))
    found = precision_recall(real, fake, k)
    assert found == brute_force(real, fake, k)
    assert 0 < min(found)


def test_a_set_against_itself_has_both_and_far_sets_have_neither():
    points = np.random.default_rng(0).normal(size=(30, 4))
    assert precision_recall(points, points) == (1.0, 1.0)
    assert precision_recall(points, points + 100) == (0.0, 0.0)


def test_a_generator_that_repeats_one_real_image_is_precise_and_covers_nothing():
    real = np.random.default_rng(0).normal(size=(100, 8))
    fake = np.repeat(real[:1], 50, axis=0)  # spheres of radius zero around one point
    precision, recall = precision_recall(real, fake)
    assert (precision, recall) == (1.0, 0.01)


def test_precision_and_recall_change_places_with_the_sets():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(60, 5)), rng.normal(0.5, 0.5, size=(45, 5))
    assert precision_recall(a, b) == precision_recall(b, a)[::-1]


def test_a_common_offset_costs_no_digits():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(200, 3)), rng.normal(0.5, size=(150, 3))
    real, fake = np.round(real, 6), np.round(fake, 6)
    whole = precision_recall(real, fake)
    shifted = precision_recall(real + 2.0**20, fake + 2.0**20)
    assert shifted == pytest.approx(whole, abs=1e-3)


def test_the_block_size_changes_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(90, 4)), rng.normal(0.5, size=(70, 4))
    whole = precision_recall(real, fake)
    monkeypatch.setattr("eval.metrics.precision_recall.BLOCK", 16)
    assert precision_recall(real, fake) == whole


def test_bad_features_are_named():
    good = np.random.default_rng(0).normal(size=(10, 4))
    with pytest.raises(UserError, match="k=3 neighbours of 3 generated images"):
        precision_recall(good, good[:3])
    bad = good.copy()
    bad[7, 1] = np.nan
    with pytest.raises(UserError, match="real image 7 are not finite"):
        precision_recall(bad, good)
    with pytest.raises(ValueError, match="equal widths"):
        precision_recall(good, good[:, :2])


@pytest.mark.parametrize("times", [2, 5])
def test_real_images_that_stand_in_the_set_several_times_count_once(times):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(200, 16)), rng.normal(size=(50, 16))
    once = precision_recall(real, fake)
    assert once[0] > 0.5
    copies = np.tile(real, (times, 1))
    assert precision_recall(copies, fake) == once
    rounded = copies * (1 + 1e-7 * rng.normal(size=copies.shape))  # as from another batch
    assert precision_recall(rounded, fake) == once
    assert repeats(copies).sum() == repeats(rounded).sum() == (times - 1) * len(real)
    assert repeats(copies)[: len(real)].sum() == 0  # the first of each is kept


def test_near_images_are_no_copies_and_a_collapsed_model_keeps_no_recall():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(300, 16))
    assert not repeats(np.concatenate([real, real + 0.01])).any()
    collapsed = np.tile(real[:2], (50, 1))
    assert precision_recall(real, collapsed)[1] == 2 / 300
    with pytest.raises(UserError, match="3 distinct real images"):
        precision_recall(np.tile(real[:3], (9, 1)), real)
