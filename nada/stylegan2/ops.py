"""Layers of StyleGAN2: equalised, resampling and modulated (Karras et al. 2020, §2)."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.run.errors import UserError

MIN_RESOLUTION = 16  # smallest power of two for which every block kind occurs
DEMODULATION_EPS = 1e-8  # Karras et al. 2020, Eq. 3


LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)  # keeps the second moment of a unit Gaussian near 1


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2)."""
    return F.leaky_relu(x, LRELU_SLOPE) * LRELU_GAIN


def check_resolution(resolution: int) -> int:
    """log2 of an image side. Raises UserError unless it is a power of two of at least 16."""
    if resolution < MIN_RESOLUTION or resolution & (resolution - 1):
        raise UserError(
            f"resolution: {resolution} given, but a StyleGAN2 needs a power of two "
            f"from {MIN_RESOLUTION} up"
        )
    return resolution.bit_length() - 1


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Feature channels at a resolution: min(channel_base / resolution, channel_max), at least 1."""
    return max(1, min(channel_base // resolution, channel_max))


class EqualizedLinear(nn.Module):
    """Fully connected layer with equalised learning rate: [N, in] -> [N, out].

    Stored weight ~ N(0,1)/lr_mul, used as weight * lr_mul / sqrt(in); stored bias is used as
    bias * lr_mul.
    """

    def __init__(
        self, in_features: int, out_features: int, lr_mul: float = 1.0, bias_init: float = 0.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_mul))
        self.weight_gain = lr_mul / math.sqrt(in_features)
        self.bias_gain = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)


class EqualizedConv2d(nn.Module):
    """Convolution with equalised learning rate: [N,in,H,W] -> [N,out,H,W], half with `down`.

    Stored weight ~ N(0,1), used as weight / sqrt(in * kernel²). `down` applies the FIR filter before
    the stride; `activate` applies lrelu last. `gain` scales the result; it and lrelu's gain are
    folded into weight and bias (lrelu is positively homogeneous), which saves a pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        bias: bool = True,
        down: bool = False,
        activate: bool = True,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.down = down
        self.activate = activate

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        if self.activate:
            gain = gain * LRELU_GAIN
        weight = self.weight * (self.weight_gain * gain)
        bias = None if self.bias is None else self.bias * gain
        x = down_conv2d(x, weight, bias) if self.down else conv2d(x, weight, bias)
        return F.leaky_relu(x, LRELU_SLOPE) if self.activate else x


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution that keeps the size: x [N,in,H,W], weight [out,in,k,k], odd k -> [N,out,H,W]."""
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def fast_layout(x: Tensor) -> Tensor:
    """Feature maps in the memory layout with the fastest kernels of their device.

    CPU: channels last (1.2-1.8x). GPU: channels last in half precision, for its matrix units, else
    contiguous (the vendor's advice; not measured here).
    """
    channels_last = x.device.type == "cpu" or x.dtype in HALF
    return x.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


# Half precision -----------------------------------------------------------------------------------
# A generator may compute its highest resolutions in half precision (Karras et al. 2020, "Training
# GANs with Limited Data"); nada/run/precision.py decides when.

HALF = (torch.float16, torch.bfloat16)
HALF_CLAMP = 256.0  # bound of features, far below float16's 65504; a healthy network never reaches it


# FIR resampling -----------------------------------------------------------------------------------


def fir_kernel(like: Tensor, gain: float = 1.0) -> Tensor:
    """The low-pass filter outer([1,3,3,1]) / 64 * gain, [4,4], device and dtype of `like`."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=like.dtype, device=like.device)
    return torch.outer(taps, taps) * (gain / 64)


@functools.cache
def _kept_fir(dtype: torch.dtype, device: torch.device, gain: float) -> Tensor:
    """`fir_kernel`, made once per device: a copy from the host at every layer would synchronise."""
    with torch.inference_mode(False), torch.no_grad():
        return fir_kernel(torch.empty((), dtype=dtype, device=device), gain)


def _fir(like: Tensor, gain: float = 1.0) -> Tensor:
    return _kept_fir(like.dtype, like.device, gain)


def _depthwise(x: Tensor, kernel: Tensor, **options) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), groups=channels, **options)


def upsample2d(x: Tensor) -> Tensor:
    """Double an image: [N,C,H,W] -> [N,C,2H,2W].

    Inserts zeros, pads (2,1) on each axis and filters with 4 * FIR, in one transposed convolution.
    """
    channels = x.shape[1]
    kernel = _fir(x, gain=4).expand(channels, 1, 4, 4)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def up_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """3x3 convolution that doubles the size: transposed, stride 2, then 4 * FIR with padding 1.

    x [N,in,H,W], weight [out,in,3,3] (used as stored, not flipped) -> [N,out,2H,2W]. Folding the
    filter into a 6x6 kernel gives the same numbers with four times the products: 2-8x slower on CPU.
    """
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return _depthwise(x, _fir(x, gain=4), padding=1)


def down_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 or 3x3 convolution that halves the size: FIR first, then a convolution of stride 2.

    x [N,in,H,W], weight [out,in,k,k] -> [N,out,H/2,W/2].
    """
    if weight.shape[-1] == 1:
        return F.conv2d(_depthwise(x, _fir(x), padding=1, stride=2), weight, bias)
    return F.conv2d(_depthwise(x, _fir(x), padding=2), weight, bias, stride=2)


# Modulated convolution ----------------------------------------------------------------------------


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    demodulate: bool = True,
    up: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Convolution whose weights each sample scales by its own style (Karras et al. 2020, Eq. 1-3).

    x [N,in,H,W], weight [out,in,k,k], style [N,in] -> gain * [N,out,H,W], twice the side with `up`.
    W'_oik = c * s_i * W_oik with c = 1/sqrt(in * k²), demodulated by rsqrt(sum_ik W'² + 1e-8).
    Computed by scaling the input by s, convolving with the shared weights, and scaling the output by
    the demodulation coefficient, which equals a grouped convolution with per-sample weights. For x in
    half precision and weight and style in full: see `_half_modulated_conv2d`.
    """
    if x.dtype in HALF and style.dtype not in HALF:
        return _half_modulated_conv2d(x, weight, style, demodulate, up, gain)
    weight = weight / math.sqrt(weight[0].numel())
    x = x * style[:, :, None, None]
    if not demodulate:
        weight = weight * gain
    x = up_conv2d(x, weight) if up else conv2d(x, weight)
    if demodulate:
        norm = style.square() @ weight.square().sum(dim=(2, 3)).T  # [N, out]
        x = x * (gain * (norm + DEMODULATION_EPS).rsqrt())[:, :, None, None]
    return x


def _half_modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool, gain: float
) -> Tensor:
    """`modulated_conv2d` for x in half precision: the same numbers, scaled to fit its range.

        W'_oik = c W_oik / max|W_o|,  s'_i = s_i / max|s|,  output times max|W_o| max|s|

    so that no factor exceeds 1 (Karras et al. 2020, "Training GANs with Limited Data"). The
    demodulation coefficient is computed from the full weights. The maxima cancel in the result, so
    no gradient goes through them. Returns half precision; without `demodulate`
    (toRGB) full precision, since images are summed in it.
    """
    largest_weight = weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-8)  # [out]
    largest_style = style.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-8)  # [N,1]
    weight = weight / math.sqrt(weight[0].numel())
    scale = gain * largest_weight * largest_style  # [N,out]
    if demodulate:
        norm = style.square() @ weight.square().sum(dim=(2, 3)).T  # [N, out]
        scale = scale * (norm + DEMODULATION_EPS).rsqrt()
    x = x * (style / largest_style).to(x.dtype)[:, :, None, None]
    scaled = (weight / largest_weight[:, None, None, None]).to(x.dtype)
    x = up_conv2d(x, scaled) if up else conv2d(x, scaled)
    x = x if demodulate else x.to(style.dtype)
    return x * scale.to(x.dtype)[:, :, None, None]
