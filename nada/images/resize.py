"""Image resizing before CLIP, with gradients that are deterministic on a GPU.

The backward pass of torch's resize uses atomic additions, whose order varies. A resize is linear, so
it can be computed with one matrix for rows and one for columns; matrix products are deterministic.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """Images [N,C,H,W] → [N,C,*size], bicubic, edges aligned by pixel areas; differentiable.

    Uses matrices on a GPU with deterministic algorithms (nada.run.precision), otherwise torch's kernel;
    both agree up to rounding.
    """
    if images.is_cuda and torch.are_deterministic_algorithms_enabled():
        return resize_by_matrices(images, size, antialias)
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=antialias)


def resize_by_matrices(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """As `resize`, on any device: R X Cᵀ for every channel X [H,W]."""
    height, width = images.shape[-2:]
    like = (antialias, images.device, images.dtype)
    rows, columns = matrix(height, size[0], *like), matrix(width, size[1], *like)
    return rows @ (images @ columns.T)


@functools.lru_cache(maxsize=16)
def matrix(length: int, size: int, antialias: bool, device, dtype) -> Tensor:
    """The matrix [size,length] of torch's resize of `length` pixels: its responses to unit vectors."""
    pixels = torch.eye(length, dtype=torch.float64)[None, None]
    kind = {"mode": "bicubic", "align_corners": False, "antialias": antialias}
    return F.interpolate(pixels, (size, length), **kind)[0, 0].to(device, dtype)


def repeat_and_pool(images: Tensor, size: int, unit: int) -> Tensor:
    """Images [N,C,R,R] → [N,C,size,size]: each pixel size/unit times, then means of R/unit pixels.

    R and size: multiples of `unit`. Acts on rows and on columns; the enlarged image is never stored.
    """
    pool = pool_matrix(images.shape[-1], size, unit, images.device, images.dtype)
    return pool @ (images @ pool.T)


@functools.lru_cache(maxsize=16)
def pool_matrix(length: int, size: int, unit: int, device, dtype) -> Tensor:
    """The matrix [size,length] of `repeat_and_pool` along one side of `length` pixels."""
    repeats, window = size // unit, length // unit
    large = torch.eye(length, dtype=torch.float64).repeat_interleave(repeats, dim=0)
    return large.view(size, window, length).mean(dim=1).to(device, dtype)
