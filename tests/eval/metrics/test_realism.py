"""Realism against its definition, and who wins a comparison."""

import numpy as np

from eval.metrics.realism import preference, realism


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
