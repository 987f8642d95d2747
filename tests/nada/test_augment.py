"""Views before CLIP: one random movement, hole and noise for both generators' images."""

import math

import pytest
import torch
from scipy import ndimage

from nada import augment
from nada.augment import Views, affine, draw_views


def plain(theta, images):
    """Views that only move."""
    count = len(theta) // len(images)
    return Views(count, theta, torch.ones(1), torch.zeros(1))(images)


def moved(image, scale=1.0, angle=0.0, shift=(0.0, 0.0)):
    numbers = [torch.tensor([x], dtype=image.dtype) for x in (scale, angle, *shift)]
    return plain(affine(numbers[0], numbers[1], torch.stack(numbers[2:])), image)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1


def test_no_movement_leaves_an_image_as_it_is(images):
    torch.testing.assert_close(moved(images[:1]), images[:1])


def test_a_shift_is_a_share_of_the_side_in_x_then_in_y(images):
    shown = moved(images[:1], shift=(2 / 16, -1 / 16))
    torch.testing.assert_close(shown[..., :-1, 2:], images[:1, :, 1:, :-2])


def test_a_quarter_turn_is_the_array_s(images):
    turned = moved(images[:1], angle=math.pi / 2)
    torch.testing.assert_close(turned, images[:1].rot90(-1, dims=(2, 3)))


def test_scale_turn_and_shift_together_are_scipy_s_affine_transform(images):
    scale, angle, shift = 1.1, 0.12, (0.08, -0.05)
    shown = moved(images[:1], scale, angle, shift)[0, 0].numpy()
    # in (row, column) pixels about the centre: turned clockwise on the screen, y down
    c, s = math.cos(angle), math.sin(angle)
    matrix = scale * torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    inverse = torch.linalg.inv(matrix).numpy()
    centre, move = torch.full((2,), 7.5).numpy(), 16 * torch.tensor(shift[::-1]).numpy()
    offset = centre - inverse @ (centre + move)
    expected = ndimage.affine_transform(
        images[0, 0].numpy(), inverse, offset, order=1, mode="nearest"
    )
    # theirs and ours differ in what lies beyond the border, by at most its last pixel
    assert abs(shown - expected)[3:-3, 3:-3].max() < 1e-6


def test_the_same_views_are_made_of_both_generators_images(images):
    view = draw_views(images, 3)
    assert torch.equal(view(images), view(images))
    difference = view(images + 0.5) - view(images)
    kept = view.kept.expand_as(difference)
    torch.testing.assert_close(difference, 0.5 * kept)  # noise and hole fall away


def test_each_view_of_each_image_is_another_and_all_are_within_their_limits():
    torch.manual_seed(1)
    view = draw_views(torch.zeros(50, 3, 32, 32), 20)
    turn = view.theta[:, :, :2]
    assert len({tuple(row) for row in turn.flatten(1).tolist()}) == 1000
    scale = torch.linalg.det(turn).rsqrt()
    angle = torch.atan2(turn[:, 0, 1], turn[:, 0, 0])
    # θ's last column is −(turn · 2 shift)
    shift = torch.linalg.solve(turn, -view.theta[:, :, 2:])[..., 0] / 2
    for value, limit in ((scale - 1, 0.1), (angle, 0.12), (shift, 0.08)):
        assert 0.95 * limit < value.abs().max() <= limit * 1.0001
        assert value.mean().abs() < 0.1 * limit
    holes = (1 - view.kept).sum(dim=(1, 2, 3))
    assert set(holes.tolist()) == {0.0, 64.0}  # a square of 8 x 8 pixels, or none
    assert (holes > 0).float().mean().item() == pytest.approx(augment.CUTOUT_RATE, abs=0.06)
    assert view.noise.std().item() == pytest.approx(augment.NOISE, rel=0.01)


def test_views_follow_each_other_view_by_view(images):
    view = draw_views(images, 2)
    shown = view(images)
    assert shown.shape == (4, 3, 16, 16)
    one = Views(1, view.theta[2:], view.kept[2:], view.noise[2:])
    torch.testing.assert_close(shown[2:], one(images))


def test_views_pass_gradcheck_in_double_precision(images):
    small = images[:, :1, :4, :4].contiguous().requires_grad_()
    assert torch.autograd.gradcheck(draw_views(small, 2), (small,))
