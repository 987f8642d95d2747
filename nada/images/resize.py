"""Resizes before CLIP, with a derivative that is repeatable on a GPU.

torch's own kernels spread gradients with atomic additions, in another order each time. A resize is
linear, one matrix for rows and one for columns, and products of matrices have a fixed order.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """Images [N,C,H,W] → [N,C,*size], bicubic, edges aligned by pixel areas; differentiable.

    On a GPU under repeatable algorithms (nada.run.precision) by matrices, else by torch's kernel; both
    agree but for rounding.
    """
    if images.is_cuda and torch.are_deterministic_algorithms_enabled():
        return resize_by_matrices(images, size, antialias)
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=antialias)


def resize_by_matrices(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """As `resize`, whatever the device: R X Cᵀ of every channel X [H,W]."""
    height, width = images.shape[-2:]
    like = (antialias, images.device, images.dtype)
    rows, columns = matrix(height, size[0], *like), matrix(width, size[1], *like)
    return rows @ (images @ columns.T)


@functools.lru_cache(maxsize=16)
def matrix(length: int, size: int, antialias: bool, device, dtype) -> Tensor:
    """What torch's resize of `length` pixels to `size` does, [size,length]: it is shown each one."""
    pixels = torch.eye(length, dtype=torch.float64)[None, None]
    kind = {"mode": "bicubic", "align_corners": False, "antialias": antialias}
    return F.interpolate(pixels, (size, length), **kind)[0, 0].to(device, dtype)


def repeat_and_pool(images: Tensor, size: int, unit: int) -> Tensor:
    """Images [N,C,R,R] → [N,C,size,size]: each pixel size/unit times, then means of R/unit pixels.

    R and size: multiples of `unit`. Both along rows and along columns; the large image between them
    is never made.
    """
    pool = pool_matrix(images.shape[-1], size, unit, images.device, images.dtype)
    return pool @ (images @ pool.T)


@functools.lru_cache(maxsize=16)
def pool_matrix(length: int, size: int, unit: int, device, dtype) -> Tensor:
    """What `repeat_and_pool` does along one side of `length` pixels, [size,length]."""
    repeats, window = size // unit, length // unit
    large = torch.eye(length, dtype=torch.float64).repeat_interleave(repeats, dim=0)
    return large.view(size, window, length).mean(dim=1).to(device, dtype)
