"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with Limited Data").

The pipeline `bgc` of §2.2 and appendix B: pixel blitting, general geometry, colour. Each transform
acts on each image with probability p, and p follows how much D overfits (§3). Everything is twice
differentiable, as R1 needs.

The authors' public code departs from the paper in two places; each is a switch here.

warp      the positions of the samples of the doubled image. The wavelet filter is not quite
          symmetric: its centre of mass is 0.098 samples after its largest tap. 'centred' measures
          positions from the centre of mass, so that images move as the paper's map says.
          'official' measures them from the largest tap. Nothing changes where the map only shifts by
          whole pixels; a mirrored image is displaced by 0.098 pixels and filtered by the wavelet
          twice, without interpolation. Measured on mirrored images of 32 px, as root mean square
          of the error over that of the image: smooth images 0.3 % ('centred') and 2.1 %
          ('official'), white noise 29 % and 15 %. So 'centred' is better on smooth images and
          'official' on noise.
p_limit   the largest p. In the paper p is a probability: 'one'. The public code bounds p only from
          below, 'official': p may exceed 1, then acts like 1, and must first come down again.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from nada.run.errors import UserError

TARGET = 0.6  # target of r_t, the mean sign of D on real images
INTERVAL = 4  # steps of D between changes of p

# Scales of the draws, appendix B.
TRANSLATE_BLIT = 1 / 8  # share of the side, whole pixels
SCALE_STD = 0.2  # of log2
TRANSLATE_STD = 1 / 8  # share of the side
BRIGHTNESS_STD, CONTRAST_STD, SATURATION_STD = 0.2, 0.5, 1.0

# Low-pass filter of the wavelet symlet 6 (Daubechies 1992), with sum sqrt(2) and unit length.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
PEAK = 5  # index of SYM6's largest tap
# The filter's centre of mass, in taps after the peak: it is not quite symmetric.
PHASE = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6) - PEAK
REACH = 3  # output pixels around the image that the last filter reads

Warp = Literal["centred", "official"]
PLimit = Literal["one", "official"]


class AdaptiveAugment:
    """The pipeline and its p; a call augments images [N,3,R,R] in about [-1,1].

    speed_kimg: thousands of real images in which p can rise from 0 to 1 (500; 100 for fine-tuning).
    p starts at 0 and is never negative. warp, p_limit: see above.
    """

    def __init__(
        self,
        speed_kimg: float,
        target: float = TARGET,
        interval: int = INTERVAL,
        warp: Warp = "centred",
        p_limit: PLimit = "one",
    ):
        if not speed_kimg > 0:
            raise UserError(f"speed_kimg: {speed_kimg} given, must be more than 0")
        self.speed_kimg, self.target, self.interval = speed_kimg, target, interval
        self.warp, self.greatest = warp, 1.0 if p_limit == "one" else math.inf
        self.p = 0.0
        self._signs: list[float | Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        return augment(images, self.p, self.warp) if self.p > 0 else images

    def follow(self, real_sign: float | Tensor, batch: int) -> None:
        """Record E[sign D(real)] of a step; every `interval` steps p changes by a fixed amount (§3).

        The amount is sign(r_t - target) · interval · batch / (1000 · speed_kimg), with r_t the mean.
        0-d tensors are read only then, so that the GPU is synchronised once in `interval` steps.
        """
        self._signs.append(real_sign)
        if len(self._signs) < self.interval:
            return
        r_t = sum(numbers(self._signs)) / len(self._signs)
        step = self.interval * batch / (1000 * self.speed_kimg)
        direction = (r_t > self.target) - (r_t < self.target)
        self.p = min(self.greatest, max(0.0, self.p + direction * step))
        self._signs = []

    def state_dict(self) -> dict:
        return {"p": self.p, "signs": list(self._signs)}  # not read: called at every step

    def load_state_dict(self, state: dict) -> None:
        self.p, self._signs = state["p"], numbers(state["signs"])


def numbers(values: list[float | Tensor]) -> list[float]:
    """Numbers and 0-d tensors as numbers, with one transfer from the tensors' device."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(read) if isinstance(value, Tensor) else value for value in values]


def augment(images: Tensor, p: float, kind: Warp = "centred") -> Tensor:
    """One random view of each image [N,3,R,R], each transform with probability p, 0 or more."""
    count, _, side, _ = images.shape
    images = warp(images, draw_geometry(count, side, p), kind)
    return recolour(images, draw_colour(count, p))


# Random matrices ----------------------------------------------------------------------------------
# Drawn on the CPU from torch's global stream: every device gets the same views, without waiting.


def draw_geometry(count: int, side: int, p: float) -> Tensor:
    """Maps [N,3,3] from output to input, in pixels about the centre (x right, y down).

    The image is flipped, turned by quarters, shifted by whole pixels, scaled, turned, stretched,
    turned again, shifted. Each of the two turns happens with 1-sqrt(1-p), so that one happens with p.
    """
    turn = 1 - math.sqrt(max(0.0, 1 - p))  # p > 1 acts like 1
    inverse = torch.eye(3).repeat(count, 1, 1)
    for matrix, probability in (
        (_scaling(1 - 2 * _integers(count, 2), torch.ones(count)), p),
        (_rotation(_integers(count, 4) * (math.pi / 2)), p),
        (_translation(torch.round(_uniform(count, 2) * TRANSLATE_BLIT * side)), p),
        (_isotropic(torch.exp2(torch.randn(count) * SCALE_STD)), p),
        (_rotation(_uniform(count) * math.pi), turn),
        (_anisotropic(torch.exp2(torch.randn(count) * SCALE_STD)), p),
        (_rotation(_uniform(count) * math.pi), turn),
        (_translation(torch.randn(count, 2) * TRANSLATE_STD * side), p),
    ):
        # (M_n … M_1)⁻¹ = M_1⁻¹ … M_n⁻¹
        inverse = inverse @ _sometimes(torch.linalg.inv(matrix), probability)
    return inverse


def draw_colour(count: int, p: float) -> Tensor:
    """Maps [N,4,4] of colours (r, g, b, 1) in [-1,1]: brightness, contrast, luma, hue, saturation."""
    grey = torch.full((3, 3), 1 / 3)  # projection onto the grey axis
    colour = torch.eye(4).repeat(count, 1, 1)
    contrast = torch.exp2(torch.randn(count) * CONTRAST_STD)
    saturation = torch.exp2(torch.randn(count) * SATURATION_STD)
    for matrix in (
        _offset(torch.randn(count) * BRIGHTNESS_STD),
        _linear(contrast[:, None, None] * torch.eye(3)),
        _linear(torch.eye(3) - 2 * _integers(count, 2)[:, None, None] * grey),
        _linear(_about_grey(_uniform(count) * math.pi)),
        _linear(grey + saturation[:, None, None] * (torch.eye(3) - grey)),
    ):
        colour = _sometimes(matrix, p) @ colour
    return colour


def _integers(count: int, below: int) -> Tensor:
    return torch.randint(below, (count,)).float()


def _uniform(*shape: int) -> Tensor:
    """Uniform in [-1, 1)."""
    return torch.rand(*shape) * 2 - 1


def _sometimes(matrices: Tensor, probability: float) -> Tensor:
    """Each matrix of [N,K,K] with that probability, otherwise the identity."""
    size = matrices.shape[-1]
    happens = torch.rand(len(matrices), 1, 1) < probability
    return torch.where(happens, matrices, torch.eye(size))


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _isotropic(factor: Tensor) -> Tensor:
    return _scaling(factor, factor)


def _anisotropic(factor: Tensor) -> Tensor:
    return _scaling(factor, 1 / factor)


def _rotation(angle: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = torch.cos(angle)
    matrix[:, 1, 0] = torch.sin(angle)
    matrix[:, 0, 1] = -matrix[:, 1, 0]
    return matrix


def _translation(shift: Tensor) -> Tensor:
    matrix = torch.eye(3).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix


def _linear(matrix: Tensor) -> Tensor:
    """[N,3,3] -> [N,4,4] without an offset."""
    full = torch.eye(4).repeat(len(matrix), 1, 1)
    full[:, :3, :3] = matrix
    return full


def _offset(amount: Tensor) -> Tensor:
    full = torch.eye(4).repeat(len(amount), 1, 1)
    full[:, :3, 3] = amount[:, None]
    return full


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations [N,3,3] of colours about the grey axis, by Rodrigues' formula."""
    v = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -v, v], [v, 0, -v], [-v, v, 0]])
    sin, cos = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    return torch.eye(3) + sin * cross + (1 - cos) * (cross @ cross)


# Execution ----------------------------------------------------------------------------------------


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply colour maps [N,4,4] to images [N,3,R,R]."""
    matrices = matrices.to(images, non_blocking=True)
    return torch.einsum("nij,njhw->nihw", matrices[:, :3, :3], images) + matrices[:, :3, 3:, None]


def warp(images: Tensor, inverse: Tensor, kind: Warp = "centred") -> Tensor:
    """Apply geometric maps [N,3,3] (see draw_geometry) to images [N,3,R,R], at doubled resolution.

    Edges are mirrored as far as the views reach. The identity map returns the images unchanged, by
    the wavelet's perfect reconstruction. kind: positions of the doubled image's samples (see above).
    """
    side = images.shape[-1]
    phase = PHASE if kind == "centred" else 0.0
    margin = _margin(inverse, side)
    images = F.pad(images, (margin, margin, margin, margin), mode="reflect")
    fine = _double(images)
    # fine pixel f lies at (f - phase)/2 - margin in the input and at (f - phase)/2 - REACH in the
    # output
    steps = torch.arange(2 * (side + 2 * REACH), device=images.device, dtype=images.dtype)
    centred = (steps - phase) / 2 - REACH - (side - 1) / 2
    y, x = torch.meshgrid(centred, centred, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    inverse = inverse.to(images, non_blocking=True)
    seen = torch.einsum("nij,hwj->nhwi", inverse[:, :2], points)
    index = 2 * (seen + (side - 1) / 2 + margin) + phase
    grid = (2 * index + 1) / fine.shape[-1] - 1
    return _halve(_Sample.apply(fine, grid))


def _margin(inverse: Tensor, side: int) -> int:
    """Number of pixels that the views see beyond the edges, at most as many as mirroring can give."""
    reach = (side - 1) / 2 + REACH
    corners = torch.tensor([[-reach, -reach, 1], [reach, -reach, 1], [-reach, reach, 1], [reach, reach, 1]])  # fmt: skip
    seen = torch.einsum("nij,kj->nki", inverse[:, :2].float(), corners).abs().max().item()
    return min(side - 1, max(REACH, math.ceil(seen - (side - 1) / 2) + REACH))


def _double(images: Tensor) -> Tensor:
    """Twice the side, [N,C,H,W] -> [N,C,2H,2W]: pixel i goes to 2i and around, by SYM6."""
    _, channels, height, width = images.shape
    rows, columns = _filters(images)
    x = F.conv_transpose2d(images, columns, stride=(1, 2), groups=channels)
    x = x[..., PEAK : PEAK + 2 * width]
    x = F.conv_transpose2d(x, rows, stride=(2, 1), groups=channels)
    return x[..., PEAK : PEAK + 2 * height, :]


def _halve(images: Tensor) -> Tensor:
    """The transpose of `_double`, without the REACH pixels at each edge."""
    channels = images.shape[1]
    rows, columns = _filters(images)
    first = 2 * REACH - PEAK
    x = images[..., first:-first, first:-first]
    x = F.conv2d(x, columns, stride=(1, 2), groups=channels)
    return F.conv2d(x, rows, stride=(2, 1), groups=channels)


@functools.cache
def _taps(dtype: torch.dtype, device: torch.device) -> Tensor:
    """SYM6 on a device, copied once: each copy from the host would synchronise."""
    return torch.tensor(SYM6, dtype=dtype, device=device)


def _filters(images: Tensor) -> tuple[Tensor, Tensor]:
    taps, channels = _taps(images.dtype, images.device), images.shape[1]
    return (
        taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1),
        taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1),
    )


class _Sample(Function):
    """grid_sample, bilinear, zeros outside, differentiable in the images any number of times.

    It is linear in the images, so each derivative is itself or its transpose; torch lacks the second.
    """

    @staticmethod
    def forward(ctx, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = images.shape
        return F.grid_sample(images, grid, "bilinear", "zeros", align_corners=False)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradient, grid, ctx.size), None


class _Spread(Function):
    """The transpose of `_Sample`."""

    @staticmethod
    def forward(ctx, values: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        bilinear, zeros = 0, 0
        spread: Callable = torch.ops.aten.grid_sampler_2d_backward
        images = values.new_zeros(()).expand(size)  # only its size is used
        return spread(values, images, grid, bilinear, zeros, False, (True, False))[0]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradient, grid), None, None
