"""Random state dicts in the layout of the public code, and the generator's forward written apart.

Layers are torch's own (`nn.utils.spectral_norm`, `nn.BatchNorm2d`), so that names and order of tensors
are those that the public code's modules have. The forward is plain arithmetic on the state dict.
"""

import itertools
import warnings

import torch
from torch import nn

MULTIPLIERS = (16, 16, 16, 8, 4, 2, 1)


def spectral(conv):
    """A convolution with torch's spectral norm, whose u and v are near the singular vectors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conv = nn.utils.spectral_norm(conv)
    for _ in range(15):
        conv(torch.zeros(1, conv.in_channels, 1, 1))
    return conv


def spade(channels, conditions, hidden):
    layer = nn.Module()
    layer.first_norm = nn.BatchNorm2d(channels, affine=False)
    layer.mlp_shared = nn.Sequential(nn.Conv2d(conditions, hidden, 3, padding=1), nn.ReLU())
    layer.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
    layer.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)
    return layer


def block(before, after, conditions, hidden):
    layer = nn.Module()
    layer.conv_0 = spectral(nn.Conv2d(before, min(before, after), 3, padding=1))
    layer.conv_1 = spectral(nn.Conv2d(min(before, after), after, 3, padding=1))
    if before != after:
        layer.conv_s = spectral(nn.Conv2d(before, after, 1, bias=False))
    layer.norm_0 = spade(before, conditions, hidden)
    layer.norm_1 = spade(min(before, after), conditions, hidden)
    if before != after:
        layer.norm_s = spade(before, conditions, hidden)
    return layer


def modules(classes, z_dim, width, multipliers=MULTIPLIERS, hidden=128):
    """The layers of a generator; running averages and u, v are moved away from their first values."""
    torch.manual_seed(0)
    channels, conditions = [width * m for m in multipliers], z_dim + classes
    network = nn.Module()
    network.conv_img = nn.Conv2d(channels[-1], 3, 3, padding=1)
    pairs = list(itertools.pairwise(channels))
    network.body = nn.ModuleList(block(a, b, conditions, hidden) for a, b in pairs)
    network.fc = nn.Conv2d(conditions, channels[0], 3, padding=1)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        if name.endswith(("weight_u", "weight_v")):
            buffer.mul_(1 + 0.01 * torch.rand(()))  # an average of unit vectors is not quite one
    return network


def convolve(x, weight, bias=None):
    """A 3x3 or 1x1 convolution with zero padding as a sum over shifts, [N,in,H,W] -> [N,out,H,W]."""
    kernel, (height, width) = weight.shape[-1], x.shape[2:]
    pad = kernel // 2
    wide = x.new_zeros(*x.shape[:2], height + 2 * pad, width + 2 * pad)
    wide[:, :, pad : pad + height, pad : pad + width] = x
    out = 0
    for i in range(kernel):
        for j in range(kernel):
            shifted = wide[:, :, i : i + height, j : j + width]
            out = out + torch.einsum("nihw,oi->nohw", shifted, weight[:, :, i, j])
    return out if bias is None else out + bias[None, :, None, None]


def lrelu(x):
    return torch.where(x > 0, x, 0.2 * x)


def nearest(x, height, width):
    rows = torch.arange(height) * x.shape[2] // height
    columns = torch.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


class Literal:
    """The generator in evaluation mode, from a state dict alone, in float64."""

    def __init__(self, state):
        self.state = {name: t.double() for name, t in state.items() if t.is_floating_point()}

    def conv(self, name, x):
        return convolve(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def spectral_conv(self, name, x):
        weight = self.state[f"{name}.weight_orig"]
        matrix = weight.reshape(len(weight), -1)
        sigma = self.state[f"{name}.weight_u"] @ matrix @ self.state[f"{name}.weight_v"]
        return convolve(x, weight / sigma, self.state.get(f"{name}.bias"))

    def spade(self, name, x, condition):
        mean = self.state[f"{name}.first_norm.running_mean"][:, None, None]
        variance = self.state[f"{name}.first_norm.running_var"][:, None, None]
        condition = nearest(condition, *x.shape[2:])
        shared = self.conv(f"{name}.mlp_shared.0", condition).clamp_min(0)
        gamma, beta = (self.conv(f"{name}.mlp_{part}", shared) for part in ("gamma", "beta"))
        return (x - mean) / (variance + 1e-5).sqrt() * (1 + gamma) + beta

    def block(self, name, x, condition):
        change = self.spectral_conv(f"{name}.conv_0", lrelu(self.spade(f"{name}.norm_0", x, condition)))
        change = self.spectral_conv(
            f"{name}.conv_1", lrelu(self.spade(f"{name}.norm_1", change, condition))
        )
        if f"{name}.conv_s.weight_orig" in self.state:
            x = self.spectral_conv(f"{name}.conv_s", self.spade(f"{name}.norm_s", x, condition))
        return x + change

    def __call__(self, labels, z):
        count = 1 + max(int(name.split(".")[1]) for name in self.state if name.startswith("body."))
        noise = z.double()[:, :, None, None] * torch.ones(1, 1, *labels.shape[2:], dtype=torch.float64)
        condition = torch.cat([noise, labels.double()], dim=1)
        factor = 2 ** (count - 1)
        x = self.conv("fc", nearest(condition, labels.shape[2] // factor, labels.shape[3] // factor))
        for i in range(count):
            if i:
                x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = self.block(f"body.{i}", x, condition)
        return self.conv("conv_img", lrelu(x)).tanh()
