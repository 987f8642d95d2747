"""StyleGAN2 generator: mapping network and skip synthesis network (Karras et al. 2020, §2-4)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.run.micro_batch import NoiseRows
from nada.stylegan2.ops import (
    HALF_CLAMP,
    LRELU_GAIN,
    LRELU_SLOPE,
    EqualizedLinear,
    channels_at,
    check_resolution,
    fast_layout,
    lrelu,
    modulated_conv2d,
    upsample2d,
)

W_AVG_BETA = 0.995  # running mean of w, per training forward (Karras et al. 2019, §2)
NOISE_MODES = ("random", "const", "none")
NUM_HALF_RES = 4  # highest resolutions that may be rendered in half precision, as published
Noise = torch.Generator | NoiseRows | None


class Mapping(nn.Module):
    """Mapping network f: z [N, z_dim] -> w [N, style_dim].

    z is normalised by its second moment, then passes `layers` fully connected layers with lrelu. In
    training mode each call moves the running mean `w_avg` towards the batch mean, unless
    `skip_w_avg_update` (the second code of style mixing).
    """

    def __init__(self, z_dim: int, style_dim: int, layers: int, lr_mul: float):
        super().__init__()
        self.z_dim = z_dim
        widths = [z_dim] + [style_dim] * layers
        self.layers = nn.ModuleList(
            EqualizedLinear(n_in, n_out, lr_mul=lr_mul) for n_in, n_out in pairwise(widths)
        )
        self.register_buffer("w_avg", torch.zeros(style_dim))

    def forward(self, z: Tensor, skip_w_avg_update: bool = False) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise UserError(
                f"z: shape {list(z.shape)} given, but the mapping network takes [N, {self.z_dim}]"
            )
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = lrelu(layer(x))
        if self.training and not skip_w_avg_update:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, W_AVG_BETA))
        return x


class StyledConv(nn.Module):
    """3x3 modulated convolution, noise, bias, lrelu: x [N,in,H,W], w [N,style_dim] -> [N,out,R,R].

    `weight`, `bias`, `noise_strength` (scalar, starts at 0), `noise_const` (stored noise [R,R]) and
    the modulation layer `affine` are separate, so that adaptation can train some and freeze others.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, resolution: int, up: bool
    ):
        super().__init__()
        self.resolution = resolution
        self.up = up
        self.affine = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise_mode: str, noise: Noise = None) -> Tensor:
        half = x.dtype != w.dtype
        # lrelu(x) = leaky_relu(sqrt(2) * x): its gain goes into every summand, which saves a pass.
        x = modulated_conv2d(x, self.weight, self.affine(w), up=self.up, gain=LRELU_GAIN)
        if noise_mode == "random":
            drawn = draw_noise(noise, w, self.resolution)
            x = x + ((self.noise_strength * LRELU_GAIN) * drawn).to(x.dtype)
        elif noise_mode == "const":
            x = x + ((self.noise_strength * LRELU_GAIN) * self.noise_const).to(x.dtype)
        bias = (self.bias * LRELU_GAIN).to(x.dtype)
        x = F.leaky_relu(x + bias[:, None, None], LRELU_SLOPE)
        return x.clamp(-HALF_CLAMP, HALF_CLAMP) if half else x


def draw_noise(noise: Noise, w: Tensor, resolution: int) -> Tensor:
    """Unit normal noise [N,1,R,R] for codes w [N,style_dim], in their precision; see Synthesis."""
    stream, rows = noise if isinstance(noise, NoiseRows) else (noise, None)
    size = (rows.batch if rows else len(w), 1, resolution, resolution)
    drawn = torch.randn(size, generator=stream, device=w.device, dtype=w.dtype)
    return rows.of(drawn) if rows else drawn


class ToRGB(nn.Module):
    """1x1 modulated convolution without demodulation or activation: [N,in,H,W] -> [N,3,H,W]."""

    def __init__(self, in_channels: int, style_dim: int):
        super().__init__()
        self.affine = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return (
            modulated_conv2d(x, self.weight, self.affine(w), demodulate=False)
            + self.bias[:, None, None]
        )


class Synthesis(nn.Module):
    """w_plus [N, num_ws, style_dim] -> image [N,3,R,R], about [-1,1], not clamped.

    `convs[i]` reads slot i; `to_rgbs[k]` reads slot 2k+1, so it shares its slot with the first
    convolution of the next block, and the last slot feeds only the last toRGB.
    `half`: the data type of the NUM_HALF_RES highest resolutions (`nada.run.precision.set_precision`),
    None: all are in full precision. The image is summed and returned in full precision.
    """

    def __init__(self, resolution: int, style_dim: int, channel_base: int, channel_max: int):
        super().__init__()
        log2 = check_resolution(resolution)
        self.half: torch.dtype | None = None
        self.num_ws = 2 * log2 - 2
        self.style_dim = style_dim
        channels = {2**i: channels_at(2**i, channel_base, channel_max) for i in range(2, log2 + 1)}
        self.const = nn.Parameter(torch.randn(channels[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(channels[4], channels[4], style_dim, 4, up=False)])
        self.to_rgbs = nn.ModuleList([ToRGB(channels[4], style_dim)])
        for r in [2**i for i in range(3, log2 + 1)]:
            self.convs.append(StyledConv(channels[r // 2], channels[r], style_dim, r, up=True))
            self.convs.append(StyledConv(channels[r], channels[r], style_dim, r, up=False))
            self.to_rgbs.append(ToRGB(channels[r], style_dim))

    def forward(self, w_plus: Tensor, noise_mode: str = "random", noise: Noise = None) -> Tensor:
        """Render W+ codes.

        noise_mode: 'random' draws new noise, 'const' uses the stored noise, 'none' adds none.
        noise: a torch.Generator on the codes' device that 'random' draws from, or a NoiseRows, which
        draws for a larger batch and keeps its rows; None: torch's global stream.
        """
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_ws, self.style_dim):
            raise UserError(
                f"w_plus: shape {list(w_plus.shape)} given, but this generator takes "
                f"[N, {self.num_ws}, {self.style_dim}]"
            )
        if noise_mode not in NOISE_MODES:
            raise UserError(
                f"noise_mode: {noise_mode!r} given, must be one of {', '.join(NOISE_MODES)}"
            )
        slots = w_plus.unbind(dim=1)
        # 4x4: constant, conv of slot 0, toRGB of slot 1
        x = fast_layout(self.const.expand(w_plus.shape[0], -1, -1, -1))
        x = self.convs[0](x, slots[0], noise_mode, noise)
        image = self.to_rgbs[0](x, slots[1])
        # 8x8 and up: up-convolution of slot 2j-1, convolution of slot 2j, toRGB of slot 2j+1
        first_half = max(1, len(self.to_rgbs) - NUM_HALF_RES) if self.half else None
        for j, to_rgb in enumerate(self.to_rgbs[1:], start=1):
            if j == first_half:
                x = fast_layout(x.to(self.half))
            x = self.convs[2 * j - 1](x, slots[2 * j - 1], noise_mode, noise)
            x = self.convs[2 * j](x, slots[2 * j], noise_mode, noise)
            image = upsample2d(image) + to_rgb(x, slots[2 * j + 1])
        return image.contiguous()


class Generator(nn.Module):
    """z [N, z_dim] -> image [N, 3, resolution, resolution], about [-1,1], not clamped.

    resolution: image side, a power of two from 16. channel_base: 32768 is config-f, 16384 config-e;
    the channels at side r are min(channel_base / r, channel_max).
    """

    def __init__(
        self,
        resolution: int,
        z_dim: int = 512,
        style_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr_mul: float = 0.01,
    ):
        super().__init__()
        self.config = {
            "resolution": resolution,
            "z_dim": z_dim,
            "style_dim": style_dim,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mapping_layers": mapping_layers,
            "mapping_lr_mul": mapping_lr_mul,
        }
        self.synthesis = Synthesis(resolution, style_dim, channel_base, channel_max)
        self.mapping = Mapping(z_dim, style_dim, mapping_layers, mapping_lr_mul)

    @property
    def num_ws(self) -> int:
        """Number of W+ slots, 2 * log2(resolution) - 2."""
        return self.synthesis.num_ws

    @property
    def w_avg(self) -> Tensor:
        """Running mean of w, [style_dim]."""
        return self.mapping.w_avg

    def broadcast(self, w: Tensor) -> Tensor:
        """The same w in every slot: [N, style_dim] -> [N, num_ws, style_dim]."""
        return w[:, None].expand(-1, self.num_ws, -1)

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """w_avg + psi * (w - w_avg) for w [N, style_dim] or w_plus [N, num_ws, style_dim].

        psi 1 leaves w as it is, 0 gives the mean. `cutoff` truncates only the slots below it and
        needs w_plus.
        """
        truncated = w if psi == 1 else self.w_avg + psi * (w - self.w_avg)
        if cutoff is None:
            return truncated
        if w.ndim != 3 or not 0 <= cutoff <= self.num_ws:
            raise UserError(
                f"truncation cutoff: {cutoff} given for codes of shape {list(w.shape)}, but it "
                f"needs w_plus [N, {self.num_ws}, {w.shape[-1]}] and a value in 0..{self.num_ws}"
            )
        return torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)

    def forward(self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "random") -> Tensor:
        w = self.truncate(self.mapping(z), truncation_psi)
        return self.synthesis(self.broadcast(w), noise_mode)
