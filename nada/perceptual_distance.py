"""LPIPS of pairs of images as a loss (Zhang et al. 2018, Eq. 1).

`eval.networks.lpips_matrix` computes the same distance of every image with every image, without gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor

NORM_EPS = 1e-10  # the lpips package's guard in the denominator of the unit normalisation

#: (images, images) [N,3,R,R] in [-1,1] -> LPIPS of each pair, [N] or [N,1,1,1].
Lpips = Callable[[Tensor, Tensor], Tensor]


def perceptual_distance(perceptual, first: Tensor, second: Tensor) -> Tensor:
    """LPIPS of pairs of images [N,3,H,W] in [-1,1] -> [N]; differentiable.

    perceptual: `.stages(x)` gives the trunk's maps, `.layer_weights` the weights [C] of each, if it has any.
    """
    weights = getattr(perceptual, "layer_weights", None)
    total = 0
    pairs = zip(perceptual.stages(first), perceptual.stages(second), strict=True)
    for stage, (a, b) in enumerate(pairs):
        difference = (_unit_features(a) - _unit_features(b)).square()
        if weights is not None:
            difference = difference * weights[stage].to(a).clamp_min(0).view(1, -1, 1, 1)
        total = total + difference.sum(dim=1).mean(dim=(1, 2))
    return total


def _unit_features(x: Tensor) -> Tensor:
    # vector_norm has the gradient 0 at 0, where all features of a masked position may be
    return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + NORM_EPS)
