"""StyleGAN2 residual discriminator (Karras et al. 2020, §4.1) with minibatch standard deviation."""

import math

import torch
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.stylegan2.ops import (
    EqualizedConv2d,
    EqualizedLinear,
    channels_at,
    check_resolution,
    fast_layout,
    lrelu,
)


def minibatch_std(x: Tensor, group_size: int) -> Tensor:
    """Append one channel, the mean standard deviation over groups: [N,C,H,W] -> [N,C+1,H,W].

    The group size is the largest divisor of N up to `group_size`; group m of M = N/size holds the
    samples m, m+M, m+2M, ... The deviation is over the group, with 1e-8 inside the root, and is
    averaged over C, H and W (Karras et al. 2018, §3).
    """
    batch, channels, height, width = x.shape
    group = max(size for size in range(1, min(group_size, batch) + 1) if batch % size == 0)
    grouped = x.reshape(group, batch // group, channels, height, width)
    variance = (grouped - grouped.mean(dim=0)).square().mean(dim=0)  # [M, C, H, W]
    statistic = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [M]
    channel = statistic.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([x, channel], dim=1)


class ResidualBlock(nn.Module):
    """(conv 3x3, conv 3x3 down + skip 1x1 down) / sqrt(2): [N,in,H,W] -> [N,out,H/2,W/2]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, down=True)
        self.skip = EqualizedConv2d(
            in_channels, out_channels, 1, bias=False, down=True, activate=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(self.conv0(x), gain=math.sqrt(0.5)) + self.skip(x, gain=math.sqrt(0.5))


class Discriminator(nn.Module):
    """image [N, 3, resolution, resolution] in about [-1,1] -> logits [N, 1].

    `blocks` go from high to low resolution. channel_base and channel_max as in the generator.
    mbstd_group_size: 4 (configurations stylegan2, paper1024) or 8 (paper256, paper512); a batch
    that it does not divide uses its largest divisor below.
    """

    def __init__(
        self,
        resolution: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        mbstd_group_size: int = 4,
    ):
        super().__init__()
        log2 = check_resolution(resolution)
        if mbstd_group_size < 1:
            raise UserError(f"mbstd_group_size: {mbstd_group_size} given, must be 1 or more")
        self.config = {
            "resolution": resolution,
            "channel_base": channel_base,
            "channel_max": channel_max,
            "mbstd_group_size": mbstd_group_size,
        }
        channels = {2**i: channels_at(2**i, channel_base, channel_max) for i in range(2, log2 + 1)}
        self.from_rgb = EqualizedConv2d(3, channels[resolution], 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[2**i], channels[2 ** (i - 1)]) for i in range(log2, 2, -1)
        )
        self.conv = EqualizedConv2d(channels[4] + 1, channels[4], 3)
        self.fc = EqualizedLinear(channels[4] * 4 * 4, channels[4])
        self.out = EqualizedLinear(channels[4], 1)

    def forward(self, images: Tensor) -> Tensor:
        side = self.config["resolution"]
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise UserError(
                f"images: shape {list(images.shape)} given, but this discriminator takes "
                f"[N, 3, {side}, {side}]"
            )
        x = self.from_rgb(fast_layout(images))
        for block in self.blocks:
            x = block(x)
        x = self.conv(minibatch_std(x, self.config["mbstd_group_size"]))
        x = lrelu(self.fc(x.flatten(1)))
        return self.out(x)
