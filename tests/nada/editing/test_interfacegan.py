"""InterFaceGAN: the SVM's normal on planted codes, which codes it sees, conditional boundaries, the edit."""

import numpy as np
import pytest
import torch

from nada.editing.interfacegan import (
    condition,
    find_boundary,
    most_confident,
    move,
    published_normal,
)
from nada.run.errors import UserError


def unit(vector):
    return np.asarray(vector, dtype=np.float64) / np.linalg.norm(vector)


def planted(count=3000, dim=16, noise=0.1):
    """Codes, and scores that grow along one direction."""
    rng = np.random.default_rng(0)
    codes, direction = rng.normal(size=(count, dim)), unit(rng.normal(size=dim))
    return codes, codes @ direction + noise * rng.normal(size=count), direction


def test_the_normal_is_the_planted_direction_and_points_to_higher_scores():
    codes, scores, direction = planted()
    boundary = find_boundary(codes, scores, seed=0, chosen=0.1)
    assert boundary.normal @ direction > 0.97
    assert np.linalg.norm(boundary.normal) == pytest.approx(1)
    assert boundary.trained == 210  # 70 % of 10 %
    assert boundary.validation > 0.98 and boundary.remaining > 0.9
    turned = find_boundary(codes, -scores, seed=0, chosen=0.1)
    assert turned.normal @ direction < -0.97


def test_the_boundary_of_four_points_is_their_largest_margin():
    # high at x = 2, low at x = -1: the plane x = 1/2, whatever y is
    codes = np.array([[2.0, 1], [2, -1], [-1, 1], [-1, -1]])
    boundary = find_boundary(codes, [1.0, 1.1, 0.0, 0.1], seed=0, chosen=0.5, train_share=1)
    np.testing.assert_allclose(boundary.normal, [1, 0], atol=1e-3)
    assert boundary.offset == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(boundary.distance(codes), [1.5, 1.5, -1.5, -1.5], atol=3e-3)
    assert np.isnan(boundary.validation) and np.isnan(boundary.remaining)  # nobody is left to judge by


def test_only_the_most_confident_codes_are_seen():
    codes, scores, _ = planted(count=400)
    high, low = most_confident(scores, 0.1)
    assert scores[high].min() > np.delete(scores, high).max()
    assert scores[low].max() < np.delete(scores, low).min()
    assert len(high) == len(low) == 40 and scores[high[0]] == scores.max()
    middle = np.setdiff1d(np.arange(400), np.concatenate([high, low]))
    nonsense = codes.copy()
    nonsense[middle] *= -1
    first, second = (find_boundary(c, scores, seed=0, chosen=0.1) for c in (codes, nonsense))
    assert np.array_equal(first.normal, second.normal)
    assert second.remaining < 0.5 < first.remaining


def test_a_conditional_boundary_is_the_paper_s_closed_form_for_two_conditions():
    rng = np.random.default_rng(1)
    normal, one, two = (unit(rng.normal(size=8)) for _ in range(3))
    # n − α n1 − β n2 with α, β from the two equations (n − α n1 − β n2) · n_i = 0
    a, b, c = normal @ one, normal @ two, one @ two
    alpha, beta = (a - b * c) / (1 - c**2), (b - a * c) / (1 - c**2)
    expected = unit(normal - alpha * one - beta * two)
    np.testing.assert_allclose(condition(normal, one, two), expected, atol=1e-12)
    np.testing.assert_allclose(condition(normal, one), unit(normal - a * one), atol=1e-12)
    np.testing.assert_allclose(condition(normal), normal, atol=1e-12)


def test_a_conditional_edit_keeps_the_distances_to_the_other_boundaries():
    rng = np.random.default_rng(2)
    normal, *others = (unit(rng.normal(size=8)) for _ in range(5))
    edit, codes = condition(normal, *others), rng.normal(size=(3, 8))
    moved = move(torch.from_numpy(codes), edit, 2.5).numpy()
    for other in others:
        np.testing.assert_allclose(moved @ other, codes @ other, atol=1e-12)
    assert ((moved - codes) @ normal > 0).all()


def test_a_condition_that_leaves_nothing_is_one_sentence():
    normal = unit([1.0, 2, 3])
    with pytest.raises(UserError, match="no direction is left; leave one of them out"):
        condition(normal, unit([1.0, 0, 0]), unit([0.0, 2, 3]))


def test_codes_move_by_their_distance_in_the_slots_asked_for():
    w_plus, normal = torch.zeros(2, 4, 3), np.array([0.0, 1, 0])
    moved = move(w_plus, normal, torch.tensor([2.0, -1.0]), range(1, 3))
    assert moved[:, :, 1].tolist() == [[0, 2, 2, 0], [0, -1, -1, 0]]
    assert moved[:, :, [0, 2]].abs().max() == 0 and w_plus.abs().max() == 0
    assert move(torch.zeros(2, 3), normal, 3.0).tolist() == [[0, 3, 0]] * 2
    assert torch.equal(move(w_plus, normal, 3.0)[:, :, 1], torch.full((2, 4), 3.0))


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 6, 4)])
def test_published_directions_of_every_shape_are_one_unit_normal(shape):
    file = np.broadcast_to(np.array([0.0, 3, 4, 0]), shape)
    np.testing.assert_allclose(published_normal(file, 4, "age.npy"), [0, 0.6, 0.8, 0])


@pytest.mark.parametrize(
    "file", [np.zeros(4), np.ones(5), np.eye(4)[None], np.full(4, np.nan), np.ones((1, 1, 1, 4)), np.ones((0, 4))]
)
def test_an_array_that_is_no_direction_is_one_sentence(file):
    with pytest.raises(UserError, match=r"^the direction age.npy has shape \[.*\]; it must be one vector of 4"):
        published_normal(file, 4, "age.npy")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scores": np.zeros(60)}, "the scores of pose do not tell the 6 highest codes from the lowest"),
        ({"scores": np.zeros(59)}, r"codes \[60, 4\] and scores \[59\] given"),
        ({"scores": np.full(60, np.nan)}, "codes or scores of pose are not finite"),
        ({"chosen": 0.6}, r"chosen is 0.6; set it to more than 0 and at most 0.5"),
        ({"chosen": 0.02}, "0.02 of 60 codes are 1 at each end"),
        ({"train_share": 0}, "train_share is 0; set it to more than 0"),
    ],
)
def test_what_cannot_be_separated_is_one_sentence(changes, message):
    arguments = {"scores": np.arange(60.0), "chosen": 0.1, **changes}
    codes = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(UserError, match=message):
        find_boundary(codes, seed=0, factor="pose", **arguments)


def test_a_boundary_of_another_space_is_one_sentence():
    with pytest.raises(UserError, match=r"shape \[5\], but the codes have 4 features"):
        move(torch.zeros(2, 4), np.ones(5), 1.0)
    with pytest.raises(UserError, match=r"slots 4..6 asked, but the codes have 6"):
        move(torch.zeros(2, 6, 4), np.ones(4), 1.0, range(4, 7))
