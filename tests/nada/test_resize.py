"""The resize by matrices is torch's bicubic, forward and backward, to float64's rounding."""

import pytest
import torch
import torch.nn.functional as F

from nada import resize as module
from nada.resize import matrix, resize, resize_by_matrices

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
    monkeypatch.setattr(module, "resize_by_matrices", lambda *_: taken.append("matrices"))
    monkeypatch.setattr(module.F, "interpolate", lambda *_, **__: taken.append("kernel"))

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
