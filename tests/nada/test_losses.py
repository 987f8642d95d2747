"""Eq. 1, 2, 3 and 5 against closed forms."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from nada.losses import (
    directional_loss,
    embedding_distance_loss,
    embedding_norm_loss,
    ensemble,
    global_loss,
    image_direction,
)


def unit(*shape):
    return normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def test_global_loss_is_one_minus_the_cosine_to_the_target_text():
    angle = 0.7
    images = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    text = torch.tensor([1.0, 0.0], dtype=torch.float64)
    expected = (0 + 1 - math.cos(angle)) / 2
    assert global_loss(images, text).item() == pytest.approx(expected, abs=1e-15)


def test_directional_loss_is_zero_when_images_move_along_the_text_direction():
    direction = unit(8)
    frozen = unit(4, 8)
    steps = torch.tensor([[0.1], [0.5], [1.0], [3.0]], dtype=torch.float64)
    loss = directional_loss(frozen + steps * direction, frozen, direction, epsilon=0.0)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_directional_loss_is_two_when_images_move_against_the_text_and_one_across_it():
    direction = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    frozen = torch.zeros(1, 3, dtype=torch.float64)
    against = directional_loss(frozen - 0.3 * direction, frozen, direction, epsilon=0.0)
    across = torch.tensor([[0.0, 0.3, 0.0]], dtype=torch.float64)
    assert against.item() == pytest.approx(2, abs=1e-12)
    assert directional_loss(across, frozen, direction, epsilon=0.0).item() == pytest.approx(1)


def test_directional_loss_guard_divides_by_the_root_of_squared_length_plus_squared_epsilon():
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    frozen = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    trained = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    dot, squared_length = 0.3 * 0.6 - 0.1 * 0.8, 0.3**2 + 0.1**2
    expected = 1 - dot / math.sqrt(squared_length + 0.05**2)
    loss = directional_loss(trained, frozen, direction, epsilon=0.05)
    assert loss.item() == pytest.approx(expected, abs=1e-14)


def test_directional_loss_of_identical_images_is_one_and_its_gradient_points_along_the_text():
    direction = unit(8)
    frozen = unit(3, 8)
    trained = frozen.clone().requires_grad_()
    loss = directional_loss(trained, frozen, direction, epsilon=0.05)
    loss.backward()
    assert loss.item() == 1
    expected = -direction / 0.05 / 3  # −ΔT/ε, averaged over the batch
    torch.testing.assert_close(trained.grad, expected.expand(3, 8))


def test_without_a_guard_a_sample_that_did_not_move_counts_one_and_pulls_at_nothing():
    direction, frozen = unit(6), unit(3, 6)
    trained = frozen + torch.tensor([[0.0], [0.3], [0.2]], dtype=torch.float64) * unit(3, 6)
    trained.requires_grad_()
    loss = directional_loss(trained, frozen, direction, epsilon=0.0)
    loss.backward()
    others = directional_loss(trained[1:], frozen[1:], direction, epsilon=0.0)
    assert loss.item() == pytest.approx((1 + 2 * others.item()) / 3, abs=1e-12)
    assert trained.grad[0].abs().max() == 0 and trained.grad[1:].abs().amax(dim=1).min() > 0
    assert trained.grad.isfinite().all()


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_an_embedding_that_is_no_number_makes_the_loss_none(epsilon):
    direction, frozen = unit(6), unit(3, 6)
    trained = frozen.clone()
    trained[1] = math.nan
    assert directional_loss(trained, frozen, direction, epsilon).isnan()


def test_without_a_guard_the_smallest_movement_counts_in_full():
    direction = torch.tensor([1.0, 0.0])
    frozen = torch.zeros(1, 2)
    moved = torch.tensor([[3e-15, 4e-15]])
    loss = directional_loss(moved, frozen, direction, epsilon=0.0)
    assert loss.item() == pytest.approx(1 - 0.6, abs=1e-6)


@pytest.mark.parametrize("distance", [0.0, 1e-4, 0.5])
def test_directional_loss_passes_gradcheck_in_double_precision(distance):
    direction, frozen = unit(6), unit(3, 6)
    trained = (frozen + distance * unit(3, 6)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: directional_loss(x, frozen, direction, epsilon=0.05), (trained,)
    )


def test_eq_5_as_printed_is_the_mean_squared_distance_of_raw_embeddings():
    base = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    mapped = torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    assert embedding_distance_loss(base, mapped).item() == ((9 + 9) + 9) / 2


def test_both_forms_of_eq_5_restrain_the_norm_of_an_embedding_that_keeps_its_direction():
    """Its purpose (App. I), which a distance of unit embeddings has not."""
    base = torch.tensor([[3.0, 4.0]])
    for form in (embedding_distance_loss, embedding_norm_loss):
        assert form(base, 1.5 * base).item() == pytest.approx(2.5**2)


def test_eq_5_of_the_public_code_is_the_mean_squared_difference_of_norms():
    base = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    mapped = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert embedding_norm_loss(base, mapped).item() == ((5 - 1) ** 2 + 0) / 2


def test_the_clip_ensemble_is_a_weighted_sum_and_not_a_mean():
    losses = [torch.tensor(0.5), torch.tensor(2.0)]
    assert ensemble([1.0, 0.25], losses).item() == 1.0


def test_the_image_direction_of_eq_3_is_the_unit_difference_of_mean_embeddings():
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    source = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    difference = (1.6 / 3 + 0.5, 1.8 / 3 - 0.5)
    length = math.hypot(*difference)
    expected = torch.tensor([d / length for d in difference], dtype=torch.float64)
    torch.testing.assert_close(image_direction(target, source), expected)
