"""The resize by matrices is torch's bicubic, forward and backward, to float64's rounding."""

import pytest
import torch
import torch.nn.functional as F

from nada.images.resize import matrix, repeat_and_pool, resize, resize_by_matrices

SIZES = [((37, 64), (16, 28)), ((16, 16), (24, 24)), ((64, 48), (64, 20))]


def torch_s(images, size, antialias):
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=antialias)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape, size", SIZES)
def test_matrices_give_torch_s_resize_and_its_gradient(shape, size, antialias):
    torch.manual_seed(0)
    images = torch.randn(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *size, dtype=torch.float64)
    found, expected = (f(images, size, antialias) for f in (resize_by_matrices, torch_s))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((x * weights).sum(), images)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_antialiasing_makes_a_difference_here():
    smooth, sharp = (matrix(64, 16, antialias, "cpu", torch.float64) for antialias in (True, False))
    assert (smooth - sharp).abs().max() > 0.1


def test_every_output_pixel_is_a_weighted_mean():
    rows = matrix(50, 14, True, "cpu", torch.float32)
    torch.testing.assert_close(rows.sum(dim=1), torch.ones(14))


def test_a_cpu_takes_torch_s_kernel_and_a_gpu_the_matrices_only_where_it_must_be_repeatable(
    monkeypatch,
):
    taken = []
    monkeypatch.setattr("nada.images.resize.resize_by_matrices", lambda *_: taken.append("matrices"))
    monkeypatch.setattr(F, "interpolate", lambda *_, **__: taken.append("kernel"))

    class Picture:
        def __init__(self, is_cuda):
            self.is_cuda = is_cuda

    for deterministic in (True, False):
        monkeypatch.setattr(
            torch, "are_deterministic_algorithms_enabled", lambda now=deterministic: now
        )
        for on_gpu in (False, True):
            resize(Picture(on_gpu), (4, 4), True)
    assert taken == ["kernel", "matrices", "kernel", "kernel"]


@pytest.mark.parametrize("side, size, unit", [(4, 6, 2), (8, 4, 4), (6, 9, 3), (5, 5, 5)])
def test_repeating_and_pooling_is_what_two_loops_over_pixels_give(side, size, unit):
    torch.manual_seed(0)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    repeats, window = size // unit, side // unit
    expected = torch.zeros(2, 3, size, size, dtype=torch.float64)
    for row in range(size):
        for column in range(size):
            for i in range(window):
                for j in range(window):
                    source = (row * window + i) // repeats, (column * window + j) // repeats
                    expected[:, :, row, column] += images[:, :, *source] / window**2
    found = repeat_and_pool(images, size, unit)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [32, 64, 512])
def test_repeating_and_pooling_is_torch_s_at_the_sizes_of_the_public_mapper(side):
    torch.manual_seed(0)
    images = torch.randn(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    large = F.interpolate(images, scale_factor=7, mode="nearest")
    expected = F.avg_pool2d(large, side // 32)
    found = repeat_and_pool(images, 224, 32)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((x * weights).sum(), images)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
