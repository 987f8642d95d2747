"""Networks in the layout of NVlabs' PyTorch pickles, written for the tests from its description.

They pickle as published files do, as a call with the source text and the state of each module, and
compute by their own formulas: per-sample weights in a grouped convolution, c = 1 in 3x3 layers,
styles / sqrt(C_in) in toRGB, inserted zeros and a dense filter for up- and downsampling.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


Z = W = TOP = 16  # narrow everything: 1/32 of the published widths


SQRT2 = math.sqrt(2)


def lrelu(x, gain=SQRT2, clamp=None):
    x = F.leaky_relu(x, 0.2) * gain
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def insert_zeros(x, keep_last):
    n, c, height, width = x.shape
    wide = x.new_zeros(n, c, height, 2, width, 2)
    wide[:, :, :, 0, :, 0] = x
    wide = wide.reshape(n, c, 2 * height, 2 * width)
    return wide if keep_last else wide[:, :, :-1, :-1]


def filtered(x, gain, pad):
    kernel = (FIR * gain).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, pad), kernel, groups=x.shape[1])


# Modules in the published layout ------------------------------------------------------------------

SOURCE = "import pathlib; pathlib.Path('canary').touch(); raise SystemExit('the source was run')\n"


def rebuild(meta):
    raise AssertionError("the file's modules were rebuilt")


class Persistent(nn.Module):
    """Pickles like a class of NVlabs' `persistence`: source, class name, state."""

    def record(self, *args, **kwargs):
        self._init_args, self._init_kwargs = args, kwargs

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": type(self).__name__,
            "state": dict(self.__dict__),
        }
        return rebuild, (meta,)


class FullyConnectedLayer(Persistent):
    def __init__(self, n_in, n_out, activation="linear", lr_multiplier=1.0, bias_init=0.0):
        super().__init__()
        self.record(n_in, n_out, activation=activation, lr_multiplier=lr_multiplier)
        self.activation = activation
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr_multiplier)
        self.bias = nn.Parameter((bias_init + 0.3 * torch.randn(n_out)) / lr_multiplier)
        self.weight_gain, self.bias_gain = lr_multiplier / math.sqrt(n_in), lr_multiplier

    def forward(self, x):
        x = x @ (self.weight * self.weight_gain).T + self.bias * self.bias_gain
        return lrelu(x) if self.activation == "lrelu" else x


class MappingNetwork(Persistent):
    def __init__(self, num_layers, lr_multiplier, c_dim=0):
        super().__init__()
        self.record(Z, c_dim, W, num_layers=num_layers, lr_multiplier=lr_multiplier)
        self.z_dim, self.c_dim, self.w_dim, self.num_layers = Z, c_dim, W, num_layers
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, W)
        for i in range(num_layers):
            layer = FullyConnectedLayer(W, W, "lrelu", lr_multiplier)
            setattr(self, f"fc{i}", layer)
        self.register_buffer("w_avg", 0.5 * torch.randn(W))

    def forward(self, z):
        x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
        for i in range(self.num_layers):
            x = getattr(self, f"fc{i}")(x)
        return x


def modulated(x, weight, styles, demodulate, up):
    n, c_in = x.shape[:2]
    kernels = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    if up:
        x = insert_zeros(x, keep_last=False)
        kernels = kernels.flip(3, 4)  # a transposed convolution
    k = weight.shape[-1]
    x = x.reshape(1, n * c_in, *x.shape[2:])
    kernels = kernels.reshape(n * weight.shape[0], c_in, k, k)
    x = F.conv2d(x, kernels, padding=2 if up else k // 2, groups=n)
    x = x.reshape(n, weight.shape[0], *x.shape[2:])
    return filtered(x, 4, (1, 1, 1, 1)) if up else x


class SynthesisLayer(Persistent):
    def __init__(self, c_in, c_out, resolution, up=1, conv_clamp=256, use_noise=True):
        super().__init__()
        self.record(c_in, c_out, w_dim=W, resolution=resolution, up=up)
        self.resolution, self.up, self.conv_clamp = resolution, up, conv_clamp
        self.use_noise, self.activation = use_noise, "lrelu"
        self.register_buffer("resample_filter", FIR.clone())
        self.affine = FullyConnectedLayer(W, c_in, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3))
        if use_noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(0.3 * torch.randn([]))
        self.bias = nn.Parameter(0.3 * torch.randn(c_out))

    def forward(self, x, w):
        x = modulated(x, self.weight, self.affine(w), True, self.up == 2)
        if self.use_noise:
            x = x + self.noise_const * self.noise_strength
        return lrelu(x + self.bias[:, None, None], clamp=self.conv_clamp)


class ToRGBLayer(Persistent):
    def __init__(self, c_in, conv_clamp=256):
        super().__init__()
        self.record(c_in, 3, w_dim=W)
        self.conv_clamp, self.weight_gain = conv_clamp, 1 / math.sqrt(c_in)
        self.weight = nn.Parameter(torch.randn(3, c_in, 1, 1))
        self.bias = nn.Parameter(0.3 * torch.randn(3))
        self.affine = FullyConnectedLayer(W, c_in, bias_init=1.0)

    def forward(self, x, w):
        styles = self.affine(w) * self.weight_gain
        x = modulated(x, self.weight, styles, False, False) + self.bias[:, None, None]
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(Persistent):
    def __init__(self, c_in, c_out, resolution, last, architecture, **layer):
        super().__init__()
        self.record(c_in, c_out, W, resolution, 3, last, architecture=architecture)
        self.architecture, self.resolution, self.img_channels = architecture, resolution, 3
        self.register_buffer("resample_filter", FIR.clone())
        if c_in == 0:
            self.const = nn.Parameter(torch.randn(c_out, 4, 4))
        else:
            self.conv0 = SynthesisLayer(c_in, c_out, resolution, up=2, **layer)
        self.conv1 = SynthesisLayer(c_out, c_out, resolution, **layer)
        if last or architecture == "skip":
            self.torgb = ToRGBLayer(c_out, layer.get("conv_clamp"))
        if c_in and architecture == "resnet":
            self.skip = Conv2dLayer(c_in, c_out, 1, bias=False)

    def forward(self, x, image, slots):
        if x is None:
            x = self.const.expand(len(slots[0]), -1, -1, -1)
        else:
            x = self.conv0(x, slots[0])
            slots = slots[1:]
        x = self.conv1(x, slots[0])
        rgb = self.torgb(x, slots[1])
        if image is None:
            return x, rgb
        return x, filtered(insert_zeros(image, keep_last=True), 4, (2, 1, 2, 1)) + rgb


def sides_of(resolution):
    return [2**i for i in range(2, resolution.bit_length())]


def widths(resolution, base):
    return {side: max(1, min(base // side, TOP)) for side in sides_of(resolution)}


class SynthesisNetwork(Persistent):
    def __init__(self, resolution, base, architecture="skip", **layer):
        super().__init__()
        self.record(W, resolution, 3, channel_base=base, **layer)
        self.img_resolution, self.w_dim, self.img_channels = resolution, W, 3
        count = widths(resolution, base)
        for side in count:
            block = SynthesisBlock(
                count[side // 2] if side > 4 else 0,
                count[side],
                side,
                side == resolution,
                architecture,
                **layer,
            )
            setattr(self, f"b{side}", block)

    def forward(self, ws):
        x = image = None
        slot = 0
        for side in sides_of(self.img_resolution):
            slots = [ws[:, k] for k in range(slot, slot + (3 if side > 4 else 2))]
            x, image = getattr(self, f"b{side}")(x, image, slots)
            slot += len(slots) - 1  # toRGB shares its slot with the next block
        return image


class Generator(Persistent):
    def __init__(self, resolution, base, layers, positional=False, c_dim=0, lr=0.01, **synthesis):
        super().__init__()
        mapping_kwargs = {"num_layers": layers}
        synthesis_kwargs = {"channel_base": base, **synthesis}
        if positional:
            self.record(Z, c_dim, W, resolution, 3, mapping_kwargs, synthesis_kwargs)
        else:
            self.record(
                z_dim=Z, c_dim=c_dim, w_dim=W, img_resolution=resolution, img_channels=3,
                mapping_kwargs=mapping_kwargs, synthesis_kwargs=synthesis_kwargs,
            )  # fmt: skip
        self.z_dim, self.c_dim, self.w_dim = Z, c_dim, W
        self.img_resolution, self.img_channels = resolution, 3
        self.num_ws = 2 * len(sides_of(resolution))
        self.synthesis = SynthesisNetwork(resolution, base, **synthesis)
        self.mapping = MappingNetwork(layers, lr, c_dim)

    def forward(self, z, psi):
        w = self.mapping.w_avg + psi * (self.mapping(z) - self.mapping.w_avg)
        return self.synthesis(w[:, None].repeat(1, self.num_ws, 1))


class Conv2dLayer(Persistent):
    def __init__(self, c_in, c_out, kernel, bias=True, down=1, activation="lrelu", clamp=256):
        super().__init__()
        self.record(c_in, c_out, kernel_size=kernel, bias=bias, down=down, conv_clamp=clamp)
        self.activation, self.down, self.conv_clamp = activation, down, clamp
        self.weight_gain = 1 / math.sqrt(c_in * kernel**2)
        self.register_buffer("resample_filter", FIR.clone())
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.bias = nn.Parameter(0.3 * torch.randn(c_out)) if bias else None

    def freeze(self):
        """FreezeD: the same tensors as buffers."""
        for name, value in list(self._parameters.items()):
            if value is not None:
                del self._parameters[name]
                self.register_buffer(name, value.detach())

    def forward(self, x, gain=1.0):
        weight, k = self.weight * self.weight_gain, self.weight.shape[-1]
        if self.down == 2:
            pad = (k + 1) // 2
            x = filtered(x, 1, (pad, pad, pad, pad))
            x = F.conv2d(x, weight)[:, :, ::2, ::2]
        else:
            x = F.conv2d(x, weight, padding=k // 2)
        if self.bias is not None:
            x = x + self.bias[:, None, None]
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        if self.activation == "lrelu":
            return lrelu(x, math.sqrt(2) * gain, self.conv_clamp)
        return x * gain if clamp is None else (x * gain).clamp(-clamp, clamp)


class MinibatchStdLayer(Persistent):
    def __init__(self, group_size):
        super().__init__()
        self.record(group_size=group_size, num_channels=1)
        self.group_size, self.num_channels = group_size, 1

    def forward(self, x):
        n = len(x)
        group = n if self.group_size is None else min(self.group_size, n)
        y = x.reshape(group, n // group, *x.shape[1:])
        y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        return torch.cat([x, y.repeat(group)[:, None, None, None].expand(-1, 1, 4, 4)], 1)


class DiscriminatorBlock(Persistent):
    def __init__(self, c_in, c_out, resolution, first, architecture, conv_clamp=256):
        super().__init__()
        self.record(0 if first else c_in, c_in, c_out, resolution, 3, architecture=architecture)
        self.architecture, self.resolution, self.img_channels = architecture, resolution, 3
        self.register_buffer("resample_filter", FIR.clone())
        if first:
            self.fromrgb = Conv2dLayer(3, c_in, 1, clamp=conv_clamp)
        self.conv0 = Conv2dLayer(c_in, c_in, 3, clamp=conv_clamp)
        self.conv1 = Conv2dLayer(c_in, c_out, 3, down=2, clamp=conv_clamp)
        if architecture == "resnet":
            self.skip = Conv2dLayer(c_in, c_out, 1, False, 2, "linear", clamp=conv_clamp)

    def forward(self, x):
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        gain = math.sqrt(0.5)
        return self.skip(x, gain) + self.conv1(self.conv0(x), gain)


class DiscriminatorEpilogue(Persistent):
    def __init__(self, c, group, cmap_dim=0):
        super().__init__()
        self.record(c, cmap_dim=cmap_dim, mbstd_group_size=group)
        self.in_channels, self.cmap_dim, self.architecture = c, cmap_dim, "resnet"
        self.mbstd = MinibatchStdLayer(group)
        self.conv = Conv2dLayer(c + 1, c, 3)
        self.fc = FullyConnectedLayer(c * 16, c, "lrelu")
        self.out = FullyConnectedLayer(c, cmap_dim or 1)

    def forward(self, x):
        return self.out(self.fc(self.conv(self.mbstd(x)).flatten(1)))


class Discriminator(Persistent):
    def __init__(self, resolution, base, group, positional=False, c_dim=0, architecture="resnet"):
        super().__init__()
        epilogue = {"mbstd_group_size": group}
        if positional:
            rest = (base, 512, 0, None, None, {}, {}, epilogue)
            self.record(c_dim, resolution, 3, architecture, *rest)
        else:
            self.record(
                c_dim=c_dim, img_resolution=resolution, img_channels=3, channel_base=base,
                epilogue_kwargs=epilogue,
            )  # fmt: skip
        self.c_dim, self.img_resolution, self.img_channels = c_dim, resolution, 3
        count = widths(resolution, base)
        for side in reversed(sides_of(resolution)[1:]):
            first = side == resolution
            block = DiscriminatorBlock(count[side], count[side // 2], side, first, architecture)
            setattr(self, f"b{side}", block)
        if c_dim:
            self.mapping = MappingNetwork(2, 0.01, c_dim)
        self.b4 = DiscriminatorEpilogue(count[4], group, 8 if c_dim else 0)

    def forward(self, x):
        for side in reversed(sides_of(self.img_resolution)[1:]):
            x = getattr(self, f"b{side}")(x)
        return self.b4(x)


class EasyDict(dict):
    pass
