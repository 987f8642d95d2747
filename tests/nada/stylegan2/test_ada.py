"""ADA: transforms against closed forms, filters against the wavelet's, second derivatives, p."""

import colorsys
import math

import numpy as np
import pytest
import torch

from nada.run.errors import UserError
from nada.stylegan2 import ada
from nada.stylegan2.adversarial import r1_penalty
from nada.stylegan2.discriminator import Discriminator

SIDE = 32


def smooth(count=4, side=SIDE, dtype=torch.float64):
    """Pictures without detail that resampling could lose."""
    torch.manual_seed(0)
    coarse = torch.randn(count, 3, 5, 5, dtype=dtype)
    return torch.nn.functional.interpolate(coarse, size=side, mode="bicubic", align_corners=False)


def inverse(matrix):
    return torch.linalg.inv(matrix).to(torch.float64)


def test_the_filter_is_the_wavelets():
    taps = torch.tensor(ada.SYM6, dtype=torch.float64)
    assert taps.sum().item() == pytest.approx(math.sqrt(2), abs=1e-9)
    for shift in range(6):  # orthonormal to its even shifts
        product = (taps[2 * shift :] * taps[: 12 - 2 * shift]).sum().item()
        assert product == pytest.approx(float(shift == 0), abs=1e-9)
    odd = (-1.0) ** torch.arange(12)
    for power in range(6):  # six vanishing moments make it a symlet 6
        assert (odd * taps * torch.arange(12.0) ** power).sum().item() == pytest.approx(0, abs=1e-4)


def test_no_transform_brings_images_back():
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    same = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    torch.testing.assert_close(ada.warp(images, same), images, rtol=0, atol=1e-9)
    assert torch.equal(ada.augment(images.float(), 0.0), ada.augment(images.float(), 0.0))
    torch.testing.assert_close(ada.augment(images, 0.0), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (ada._scaling(-torch.ones(4), torch.ones(4)), lambda x: x.flip(3)),
        # a positive angle turns x (right) towards y (down): clockwise on the screen
        (ada._rotation(torch.full((4,), math.pi / 2)), lambda x: x.rot90(-1, (2, 3))),
        (ada._rotation(torch.full((4,), math.pi)), lambda x: x.flip(2, 3)),
    ],
)
def test_flips_and_quarter_turns_move_whole_pixels(matrix, expected):
    images = smooth()
    warped = ada.warp(images, inverse(matrix))
    torch.testing.assert_close(warped, expected(images), rtol=0, atol=0.05)
    error = (warped - expected(images)).abs().mean()
    assert error < 0.02 * (images - expected(images)).abs().mean()


def test_a_shift_by_whole_pixels_moves_and_mirrors():
    images = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    warped = ada.warp(images, inverse(ada._translation(torch.tensor([[3.0, -2.0]]))))
    torch.testing.assert_close(warped[..., : SIDE - 2, 3:], images[..., 2:, : SIDE - 3])
    torch.testing.assert_close(  # what comes in from outside is mirrored about the edge pixel
        warped[..., : SIDE - 2, :3], images[..., 2:, 1:4].flip(-1)
    )


def official_flip(images):
    """Mirrored images as the uncorrected phase gives them, in closed form, but for the edges.

    Doubling puts tap k of pixel i on sample 2i + k - peak, halving collects them in the same way, and
    a flip about the image's centre turns sample f to 2(R - 1) - f. So y[j] = sum_n c[n] x'[j + n] of
    the mirrored x', where c[n] is entry 2 peak + 2n of the filter convolved with itself.
    """
    twice = np.convolve(ada.SYM6, ada.SYM6)
    moved = range(-ada.PEAK, (len(twice) - 1) // 2 - ada.PEAK + 1)
    kernel = {n: float(twice[2 * ada.PEAK + 2 * n]) for n in moved}
    assert sum(kernel.values()) == pytest.approx(1, abs=1e-9)
    assert sum(n * c for n, c in kernel.items()) == pytest.approx(ada.PHASE, abs=1e-9)
    rows = images.flip(3)
    return sum(c * rows.roll(-n, 3) for n, c in kernel.items())


def test_neither_warp_changes_what_lies_still_or_moves_by_whole_pixels():
    images = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    shift = inverse(ada._translation(torch.tensor([[3.0, -2.0]])))
    for maps in (torch.eye(3, dtype=torch.float64)[None], shift):
        centred, official = (ada.warp(images, maps, kind) for kind in ("centred", "official"))
        torch.testing.assert_close(official, centred, rtol=0, atol=1e-9)


def test_the_official_warp_displaces_a_mirrored_image_by_the_filters_phase():
    images, flip = torch.randn(4, 3, SIDE, SIDE, dtype=torch.float64), ada._scaling(-torch.ones(4), torch.ones(4))  # fmt: skip
    inner = (..., slice(8, -8))  # the rest sees the mirrored edge
    official = ada.warp(images, inverse(flip), "official")
    torch.testing.assert_close(official[inner], official_flip(images)[inner], rtol=0, atol=1e-9)
    assert (ada.warp(images, inverse(flip)) - official)[inner].abs().max() > 0.01


def literal_official_warp(image, forward):
    """The public code's order of steps on one channel [R,R], written out; forward maps [3,3] pixels."""
    side, reach, taps = len(image), ada.REACH, np.array(ada.SYM6)

    def doubled(row):
        spread = np.zeros(2 * len(row))
        spread[::2] = row
        return np.convolve(spread, taps)[ada.PEAK : ada.PEAK + 2 * len(row)]

    def halved(row):  # the doubling's transpose, without the margin of `reach` pixels
        return [
            row[2 * j - ada.PEAK : 2 * j - ada.PEAK + 12] @ taps for j in range(reach, side + reach)
        ]

    fine = np.pad(image, side - 1, mode="reflect")
    for axis in (0, 1):
        fine = np.apply_along_axis(doubled, axis, fine)
    half, double = np.diag([0.5, 0.5, 1]), np.diag([2.0, 2, 1])
    back, on = np.eye(3), np.eye(3)
    back[:2, 2], on[:2, 2] = -0.5, 0.5  # a doubled sample lies half a fine pixel before its centre
    theta = back @ double @ np.linalg.inv(forward) @ half @ on
    wide, size = len(fine), 2 * (side + 2 * reach)
    theta = np.diag([2 / wide, 2 / wide, 1]) @ theta @ np.diag([size / 2, size / 2, 1])
    grid = torch.nn.functional.affine_grid(
        torch.from_numpy(theta[None, :2]), [1, 1, size, size], align_corners=False
    )
    fine = torch.from_numpy(fine)[None, None]
    seen = torch.nn.functional.grid_sample(fine, grid, align_corners=False)[0, 0].numpy()
    for axis in (0, 1):
        seen = np.apply_along_axis(halved, axis, seen)
    return seen


def test_the_official_warp_follows_the_public_code_s_steps_under_any_map():
    torch.manual_seed(6)
    images = torch.randn(1, 1, 12, 12, dtype=torch.float64).expand(1, 3, 12, 12)
    turn = ada._rotation(torch.tensor([0.7])) @ ada._anisotropic(torch.tensor([1.2]))
    forward = (ada._translation(torch.tensor([[1.3, -0.4]])) @ turn).double()
    found = ada.warp(images, torch.linalg.inv(forward), "official")[0, 0]
    expected = literal_official_warp(images[0, 0].numpy(), forward[0].numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    assert np.abs(ada.warp(images, torch.linalg.inv(forward))[0, 0].numpy() - expected).max() > 0.01


def test_a_ramp_stays_where_it_is_under_the_centred_warp_alone():
    """Moments of order one are exact: a ramp is displaced by what the filter's phase says."""
    axis = (torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2).expand(1, 3, SIDE, SIDE)
    flip = inverse(ada._scaling(-torch.ones(1), torch.ones(1)))
    inner = (..., slice(8, -8))
    centred = ada.warp(axis, flip)
    torch.testing.assert_close(centred[inner], axis.flip(3)[inner], rtol=0, atol=1e-6)
    official = ada.warp(axis, flip, "official")
    moved = axis.flip(3) - ada.PHASE  # the mirrored ramp falls by one a pixel
    torch.testing.assert_close(official[inner], moved[inner], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "of_smooth", "of_noise"), [("centred", 0.003, 0.29), ("official", 0.021, 0.15)]
)
def test_the_centred_warp_is_better_on_smooth_images_and_the_official_one_on_noise(
    kind, of_smooth, of_noise
):
    """The figures of the module's docstring."""
    torch.manual_seed(0)
    noise = torch.randn(8, 3, SIDE, SIDE, dtype=torch.float64)
    for images, wanted in ((smooth(8), of_smooth), (noise, of_noise)):
        flip = inverse(ada._scaling(-torch.ones(8), torch.ones(8)))
        error = ada.warp(images, flip, kind) - images.flip(3)
        found = (error.square().mean() / images.square().mean()).sqrt().item()
        assert found == pytest.approx(wanted, rel=0.12)


def test_scaling_turning_and_stretching_against_analytic_pictures():
    axis = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")

    def picture(points_x, points_y):
        return (torch.sin(points_x / 4) + torch.cos(points_y / 5)).expand(1, 3, SIDE, SIDE)

    angle = torch.tensor([0.3])
    cases = [
        (ada._isotropic(torch.tensor([1.25])), (x / 1.25, y / 1.25)),
        (ada._anisotropic(torch.tensor([1.25])), (x / 1.25, y * 1.25)),
        (ada._rotation(angle), (x * math.cos(0.3) + y * math.sin(0.3), y * math.cos(0.3) - x * math.sin(0.3))),
        (ada._translation(torch.tensor([[1.5, 0.25]])), (x - 1.5, y - 0.25)),
    ]  # fmt: skip
    inner = (..., slice(8, -8), slice(8, -8))  # the rest sees the mirrored edge
    for matrix, (from_x, from_y) in cases:
        warped = ada.warp(picture(x, y), inverse(matrix))
        torch.testing.assert_close(warped[inner], picture(from_x, from_y)[inner], rtol=0, atol=0.03)


def test_colour_maps_against_their_formulas():
    images = smooth()
    red = torch.tensor([0.8, -0.4, -0.4])[None, :, None, None].expand(1, 3, 2, 2)
    torch.testing.assert_close(
        ada.recolour(images, ada._offset(torch.full((4,), 0.25))), images + 0.25
    )
    # a third of a turn about grey goes from channel to channel
    third = ada._linear(ada._about_grey(torch.tensor([2 * math.pi / 3])))
    torch.testing.assert_close(ada.recolour(red, third), red.roll(1, 1), rtol=0, atol=1e-6)
    grey = torch.full((3, 3), 1 / 3)
    luma = ada._linear((torch.eye(3) - 2 * grey)[None])
    mean = red.mean(1, keepdim=True)
    torch.testing.assert_close(ada.recolour(red, luma), red - 2 * mean, rtol=0, atol=1e-6)


def test_hue_keeps_lightness_and_turns_in_hsv_order():
    red = torch.tensor([0.9, 0.1, 0.1])
    turned = ada._about_grey(torch.tensor([0.5]))[0] @ red
    assert turned.sum().item() == pytest.approx(red.sum().item(), abs=1e-6)
    assert 0 < colorsys.rgb_to_hsv(*turned.clamp(0, 1).tolist())[0] < 0.2


def test_draws_have_the_published_spread():
    torch.manual_seed(1)
    count, side = 20000, 64
    nothing = ada.draw_geometry(10, side, 0.0)
    torch.testing.assert_close(nothing, torch.eye(3).expand(10, 3, 3))
    full = ada.draw_geometry(count, side, 1.0)
    # areas: two log2-normal scales, the anisotropic one keeps the area
    area = torch.linalg.det(full[:, :2, :2]).abs().log2()
    assert area.std().item() == pytest.approx(2 * ada.SCALE_STD, rel=0.05)
    # half are mirrored
    assert (torch.linalg.det(full[:, :2, :2]) < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)  # fmt: skip
    changed = (ada.draw_geometry(count, side, 0.1) != torch.eye(3)).flatten(1).any(1)
    # flip and quarter turn draw "nothing" at times; each turn happens with 1 - sqrt(1 - p)
    still = (1 - 0.1 / 2) * (1 - 0.1 * 3 / 4) * 0.9**4 * 0.9
    assert changed.float().mean().item() == pytest.approx(1 - still, abs=0.02)
    colour = ada.draw_colour(count, 1.0)
    brightness_times_contrast = colour[:, :3, 3].mean(1).abs().log2()
    assert brightness_times_contrast.isfinite().all()
    assert (torch.linalg.det(colour[:, :3, :3]) < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)  # fmt: skip


def test_the_pipeline_can_be_differentiated_twice():
    torch.manual_seed(2)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    maps = ada.draw_geometry(2, 16, 1.0).double()
    weights = torch.randn(2, 3, 16, 16, dtype=torch.float64)

    def scalar(x):
        return (torch.tanh(ada.warp(x, maps)) * weights).sum()

    assert torch.autograd.gradcheck(scalar, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(scalar, images, fast_mode=True)


def test_r1_goes_through_the_augmentation():
    torch.manual_seed(3)
    D = Discriminator(16, channel_base=128, channel_max=16).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    maps = ada.draw_geometry(2, 16, 1.0).double()

    def penalty():
        return r1_penalty(images, D(ada.warp(images, maps)))

    penalty().backward()
    weight = D.from_rgb.weight
    found, step = weight.grad[0, 0, 0, 0].item(), 1e-5
    with torch.no_grad():
        weight[0, 0, 0, 0] += step
    high = penalty().item()
    with torch.no_grad():
        weight[0, 0, 0, 0] -= 2 * step
    low = penalty().item()
    assert found == pytest.approx((high - low) / (2 * step), rel=1e-4)


def test_p_moves_by_its_step_towards_the_target_and_stays_in_range():
    pipe = ada.AdaptiveAugment(speed_kimg=0.1)
    for _ in range(3):
        pipe.follow(1.0, batch=4)
    assert pipe.p == 0.0  # the fourth step decides
    pipe.follow(1.0, batch=4)
    assert pipe.p == pytest.approx(4 * 4 / 100)
    for _ in range(4):
        pipe.follow(0.59, batch=4)
    assert pipe.p == pytest.approx(0.0)
    for _ in range(400):
        pipe.follow(1.0, batch=4)
    assert pipe.p == 1.0
    for _ in range(4):
        pipe.follow(0.6, batch=4)
    assert pipe.p == 1.0  # on the target it rests
    for _ in range(400):
        pipe.follow(-1.0, batch=4)
    assert pipe.p == 0.0


def test_the_official_p_rises_over_one_acts_there_like_one_and_comes_back_later():
    paper, official = (ada.AdaptiveAugment(0.1, p_limit=limit) for limit in ("one", "official"))
    for _ in range(4 * 8):
        paper.follow(1.0, batch=4)
        official.follow(1.0, batch=4)
    assert paper.p == 1.0
    assert official.p == pytest.approx(8 * 16 / 100)
    for pipe in (paper, official):
        for _ in range(4):
            pipe.follow(-1.0, batch=4)
    assert paper.p == pytest.approx(0.84) and official.p == pytest.approx(1.12)
    images = smooth(2, dtype=torch.float32)
    torch.manual_seed(5)
    certain = ada.augment(images, 1.0)
    torch.manual_seed(5)
    assert torch.equal(official(images), certain)
    for _ in range(400):
        official.follow(-1.0, batch=4)
    assert official.p == 0.0


def test_p_resumes_within_an_interval():
    whole, halves = ada.AdaptiveAugment(0.1), ada.AdaptiveAugment(0.1)
    signs = [1.0, 0.5, 1.0, 0.9, 1.0, 1.0]
    for sign in signs:
        whole.follow(sign, 4)
    for sign in signs[:2]:
        halves.follow(sign, 4)
    second = ada.AdaptiveAugment(0.1)
    second.load_state_dict(halves.state_dict())
    for sign in signs[2:]:
        second.follow(sign, 4)
    assert second.state_dict() == whole.state_dict()


def test_a_speed_that_is_no_speed_is_named():
    with pytest.raises(UserError, match="speed_kimg: 0"):
        ada.AdaptiveAugment(0)
