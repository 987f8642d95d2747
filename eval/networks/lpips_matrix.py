"""Pairwise LPIPS as a matrix product (Zhang et al. 2018, Eq. 1).

LPIPS is the squared Euclidean distance between one vector per image: unit-normalised features of every
stage and position, times √(weight / positions). So n images need n forward passes and one Gram matrix,
not n(n-1)/2 passes of pairs. The weights belong to the network: `eval.networks.lpips_vgg` has those of the
package's heads, the mini world's network has none (uniform). `lpips_model` builds the `lpips` package
around the same trunk: the slow reference that the tests compare with.

Cost. The features of n images of D numbers take 4nD bytes; VGG at 256 px has D = 8.0 million, 32 MB per
image. If `memory_bytes` holds only s images per block (s ≈ memory_bytes / 8D, for two blocks), the
features of a block are computed again for every other block: n(n/s + 1)/2 passes through the trunk
instead of n. For 1000 images at 256 px: 1 GiB → 16 per block, 31,752 passes; 16 GiB → 268 per block, 2,392;
64 GiB → one block, 1,000. The activations of one batch in the trunk come on top. The product takes about
n²D float64 multiplications for any block size.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from nada.images.tensors import to_tensor
from nada.run.errors import UserError

#: Features of two blocks of images and their float64 copies stay below this many bytes.
MEMORY_BYTES = 1 << 30
#: Columns of the feature matrix per float64 product.
CHUNK = 4096
#: ‖a‖² + ‖b‖² − 2a·b loses digits if a ≈ b: below this share of ‖a‖² + ‖b‖² it is computed directly.
DIRECT_BELOW = 1e-6
#: The lpips package's guard in the denominator of the unit normalisation.
NORM_EPS = 1e-10


def lpips_features(perceptual, images: Tensor, layer_weights=None) -> Tensor:
    """Images [n,3,H,W] in [-1,1] -> vectors [n,D]; LPIPS(i,j) = ‖f_i − f_j‖².

    perceptual: `.stages(x)` returns the trunk's maps. layer_weights: for each stage a tensor [C] of
    weights >= 0 (the package's `lin` layers); None: the network's `layer_weights`, or 1 if it has none.
    """
    if layer_weights is None:
        layer_weights = getattr(perceptual, "layer_weights", None)
    with torch.inference_mode():
        maps = perceptual.stages(images)
        parts = []
        for stage, x in enumerate(maps):
            x = x / (x.square().sum(dim=1, keepdim=True).sqrt() + NORM_EPS)
            positions = x.shape[2] * x.shape[3]
            if layer_weights is not None:
                x = x * layer_weights[stage].to(x).clamp_min(0).sqrt().view(1, -1, 1, 1)
            parts.append((x / positions**0.5).flatten(1))
        return torch.cat(parts, dim=1)


def _block_features(perceptual, images, start, size, batch, layer_weights, device) -> Tensor:
    features, stop = None, min(start + size, len(images))
    for first in range(start, stop, batch):
        x = to_tensor(images[first : min(first + batch, stop)]).to(device)
        rows = lpips_features(perceptual, x, layer_weights)
        finite = rows.isfinite().all(dim=1)
        if not finite.all():
            bad = first + int((~finite).nonzero()[0])
            raise UserError(f"LPIPS: the features of image {bad} are not finite")
        if features is None:  # filled in place: concatenation would hold the block twice
            features = rows.new_empty(stop - start, rows.shape[1])
        features[first - start : first - start + len(rows)] = rows
    return features


def _block_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖² [n,m] in float64 of centred features a [n,D], b [m,D]; b may be the same tensor as a."""
    product = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    norms_a, norms_b = product.new_zeros(len(a)), product.new_zeros(len(b))
    for chunk_a, chunk_b in zip(a.split(CHUNK, dim=1), b.split(CHUNK, dim=1), strict=True):
        wide_a = chunk_a.double()
        wide_b = wide_a if b is a else chunk_b.double()
        product.addmm_(wide_a, wide_b.T)
        norms_a += wide_a.square().sum(dim=1)
        norms_b += wide_b.square().sum(dim=1)
    norms = norms_a[:, None] + norms_b[None, :]
    distances = (norms - 2 * product).clamp_min_(0)
    close = distances < DIRECT_BELOW * norms
    if b is a:
        close = close.triu(diagonal=1)
    pairs = max(1, MEMORY_BYTES // (16 * a.shape[1]))
    for i, j in (part.T for part in close.nonzero().split(pairs)):
        distances[i, j] = (a[i] - b[j]).square().sum(dim=1, dtype=torch.float64)
    if b is a:  # the upper half mirrored, zeros on the diagonal: exactly symmetric
        distances = distances.triu(diagonal=1)
        distances = distances + distances.T
    return distances


def lpips_matrix(
    perceptual,
    images: np.ndarray,
    others: np.ndarray | None = None,
    batch: int = 32,
    layer_weights=None,
    memory_bytes: int = MEMORY_BYTES,
) -> np.ndarray:
    """LPIPS of every image with every image: float64 [n,n] (zero diagonal), or [n,m] with `others`.

    images, others: uint8 [N,H,W,3]. batch: images per forward pass. memory_bytes: bound for the features
    in memory; if not all fit, each image passes through the trunk once per block. Equals the lpips
    package within 1e-4 relative + 1e-6 absolute. UserError: features that are not finite. ValueError: no image.
    """
    parameter = next(iter(perceptual.parameters()), torch.empty(0))
    device = parameter.device
    symmetric = others is None
    others = images if symmetric else others
    if len(images) == 0 or len(others) == 0:
        raise ValueError("images: one or more expected on each side, got none")

    # block size from the length of one image's vector: two fp32 blocks and float64 chunks
    probe = lpips_features(perceptual, to_tensor(images[:1]).to(device), layer_weights)
    bytes_per_image = 2 * 4 * probe.shape[1] + 3 * 8 * min(CHUNK, probe.shape[1])
    size = max(1, memory_bytes // bytes_per_image)

    def block(source, start):
        return _block_features(perceptual, source, start, size, batch, layer_weights, device)

    distances = np.empty((len(images), len(others)))
    centre, all_others = None, None
    for i in range(0, len(images), size):
        a = block(images, i)
        if centre is None:
            # distances do not depend on the centre; the mean keeps the norms small
            centre = a.mean(dim=0)
        a -= centre
        for j in range(i if symmetric else 0, len(others), size):
            if symmetric and i == j:
                b = a
            elif all_others is not None:
                b = all_others
            else:
                b = block(others, j).sub_(centre)
                if not symmetric and len(others) <= size:
                    all_others = b  # few others (a training set): computed once
            values = _block_distances(a, b).cpu().numpy()
            distances[i : i + len(a), j : j + len(b)] = values
            if symmetric:
                distances[j : j + len(b), i : i + len(a)] = values.T
    return distances


class _Trunk(nn.Module):
    def __init__(self, perceptual):
        super().__init__()
        self.perceptual = perceptual

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.perceptual.stages(x)


def lpips_model(perceptual) -> nn.Module:
    """The `lpips` package's model with our trunk: model(x, y) -> [n,1,1,1] of images in [-1,1].

    Replaces the trunk of a model built with random weights (`pnet_rand`). `lpips=False` sums the stages
    with equal weights; version 0.0 has no ImageNet scaling of the input, which our trunk is not
    trained with.
    """
    import lpips  # imports torchvision and matplotlib: only when asked for

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling the package uses
        model = lpips.LPIPS(
            pretrained=False,
            net="squeeze",
            version="0.0",
            lpips=False,
            pnet_rand=True,
            verbose=False,
        )
    model.net = _Trunk(perceptual)
    model.chns = list(perceptual.widths)
    model.L = len(model.chns)
    return model.eval()
