"""Random tensors with the names and shapes of the published networks.

Scales are those of the networks' initialisation, so that features neither vanish nor grow. Biases
and noise strengths are not zero, although training starts them at zero: a zero would hide a tensor
in the wrong place. Sizes are the published ones; `narrow()` keeps the layout with few channels, for
tests.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nada.run.streams import stream_seed

LR_MUL = 0.01  # of StyleGAN2's mapping network; its weights are stored divided by it
SMALL = 0.1  # standard deviation of biases, noise strengths and values around 1
RGB_SCALE = 0.2  # of toRGB's weights: images stay mostly within [-1,1]
# StyleGAN2's resampling filter.
FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


class Numbers:
    """Random numbers from a stream seeded by the parts of a name."""

    def __init__(self, *name):
        self._stream = torch.Generator().manual_seed(stream_seed("rehearsal", *name))

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
        """float32 of that shape."""
        return torch.randn(shape, generator=self._stream) * std + mean

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """float32 of that shape in [low, high)."""
        return torch.rand(shape, generator=self._stream) * (high - low) + low


# StyleGAN2 ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StyleGan:
    """Size of a StyleGAN2. A layer has min(channel_base / side, channel_max) channels.

    width: of z and w; group: minibatch group of the discriminator.
    """

    resolution: int
    channel_base: int = 32768
    group: int = 4
    channel_max: int = 512
    width: int = 512
    mapping_layers: int = 8

    @property
    def sides(self) -> list[int]:
        """4, 8, … resolution"""
        return [4 << i for i in range(self.resolution.bit_length() - 2)]

    def channels(self, side: int) -> int:
        return min(self.channel_base // side, self.channel_max)

    def narrow(self) -> "StyleGan":
        base = self.channel_base // 64
        return replace(self, resolution=32, channel_base=base, channel_max=32, width=32)


def generator_tensors(size: StyleGan, numbers: Numbers) -> dict[str, Tensor]:
    """A generator under NVlabs' PyTorch names, without filters."""
    t = {}

    def dense(name, n_in, n_out, lr_mul=1.0, bias=0.0):
        t[f"{name}.weight"] = numbers.normal(n_out, n_in, std=1 / lr_mul)
        t[f"{name}.bias"] = numbers.normal(n_out, std=SMALL / lr_mul, mean=bias)

    for i in range(size.mapping_layers):
        dense(f"mapping.fc{i}", size.width, size.width, LR_MUL)
    t["mapping.w_avg"] = numbers.normal(size.width, std=3 * SMALL)
    t["synthesis.b4.const"] = numbers.normal(size.channels(4), 4, 4)
    for side in size.sides:
        block, n_out = f"synthesis.b{side}", size.channels(side)
        for layer in ("conv1",) if side == 4 else ("conv0", "conv1"):
            name, n_in = f"{block}.{layer}", size.channels(side // 2) if layer == "conv0" else n_out
            dense(f"{name}.affine", size.width, n_in, bias=1.0)
            t[f"{name}.weight"] = numbers.normal(n_out, n_in, 3, 3)
            t[f"{name}.noise_const"] = numbers.normal(side, side)
            t[f"{name}.noise_strength"] = numbers.normal(std=SMALL)
            t[f"{name}.bias"] = numbers.normal(n_out, std=SMALL)
        dense(f"{block}.torgb.affine", size.width, n_out, bias=1.0)
        t[f"{block}.torgb.weight"] = numbers.normal(3, n_out, 1, 1, std=RGB_SCALE)
        t[f"{block}.torgb.bias"] = numbers.normal(3, std=SMALL)
    return t


def discriminator_tensors(size: StyleGan, numbers: Numbers) -> dict[str, Tensor]:
    """A discriminator under NVlabs' PyTorch names, without filters."""
    t = {}

    def conv(name, n_in, n_out, kernel, bias=True):
        t[f"{name}.weight"] = numbers.normal(n_out, n_in, kernel, kernel)
        if bias:
            t[f"{name}.bias"] = numbers.normal(n_out, std=SMALL)

    conv(f"b{size.resolution}.fromrgb", 3, size.channels(size.resolution), 1)
    for side in reversed(size.sides[1:]):
        n_in, n_out = size.channels(side), size.channels(side // 2)
        conv(f"b{side}.conv0", n_in, n_in, 3)
        conv(f"b{side}.conv1", n_in, n_out, 3)
        conv(f"b{side}.skip", n_in, n_out, 1, bias=False)
    top = size.channels(4)
    conv("b4.conv", top + 1, top, 3)
    for name, n_in, n_out in (("fc", 16 * top, top), ("out", top, 1)):
        t[f"b4.{name}.weight"] = numbers.normal(n_out, n_in)
        t[f"b4.{name}.bias"] = numbers.normal(n_out, std=SMALL)
    return t


def stylegan_tensors(name: str, size: StyleGan, part: str) -> dict[str, Tensor]:
    """One network of the asset `name`; parts G, G_ema and D have different values."""
    draw = discriminator_tensors if part == "D" else generator_tensors
    return draw(size, Numbers(name, part))


# CLIP ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipSize:
    """Size of a CLIP with a vision transformer; heads of vision are 64 wide."""

    patch: int
    image: int = 224
    embed: int = 512
    vision_width: int = 768
    vision_layers: int = 12
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    context: int = 77
    vocabulary: int = 49408

    @property
    def vision_heads(self) -> int:
        return self.vision_width // 64

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image // self.patch

    def narrow(self) -> "ClipSize":
        vision = {"image": 64, "vision_width": 128, "vision_layers": 2}
        return replace(self, embed=32, text_width=32, text_heads=2, text_layers=2, **vision)

    def config(self) -> dict:
        """The same as open_clip names them."""
        vision = {
            "image_size": self.image,
            "patch_size": self.patch,
            "width": self.vision_width,
            "layers": self.vision_layers,
        }
        text = {
            "context_length": self.context,
            "vocab_size": self.vocabulary,
            "width": self.text_width,
            "heads": self.text_heads,
            "layers": self.text_layers,
        }
        return {
            "embed_dim": self.embed,
            "quick_gelu": True,
            "vision_cfg": vision,
            "text_cfg": text,
        }


def is_half(name: str) -> bool:
    """Whether OpenAI's archives keep a tensor in half precision."""
    return not any(part in name for part in ("ln_", "embedding", "logit_scale"))


def clip_tensors(size: ClipSize, numbers: Numbers) -> dict[str, Tensor]:
    """A CLIP under OpenAI's names, in the data types of its archives."""
    t = {}

    def norm(name, width):
        t[f"{name}.weight"] = numbers.normal(width, std=SMALL, mean=1.0)
        t[f"{name}.bias"] = numbers.normal(width, std=SMALL)

    def dense(name, n_in, n_out, std, weight="weight", bias="bias"):
        t[f"{name}.{weight}"] = numbers.normal(n_out, n_in, std=std)
        t[f"{name}.{bias}"] = numbers.normal(n_out, std=SMALL)

    def tower(prefix, width, layers):
        std, last = width**-0.5, (2 * layers * width) ** -0.5
        for i in range(layers):
            block = f"{prefix}transformer.resblocks.{i}"
            norm(f"{block}.ln_1", width)
            # a separate name: attention stores its first projection without a dot
            t[f"{block}.attn.in_proj_weight"] = numbers.normal(3 * width, width, std=std)
            t[f"{block}.attn.in_proj_bias"] = numbers.normal(3 * width, std=SMALL)
            dense(f"{block}.attn.out_proj", width, width, last)
            norm(f"{block}.ln_2", width)
            dense(f"{block}.mlp.c_fc", width, 4 * width, (2 * width) ** -0.5)
            dense(f"{block}.mlp.c_proj", 4 * width, width, last)

    width = size.vision_width
    scale, pixels = width**-0.5, 3 * size.patch**2
    t["visual.conv1.weight"] = numbers.normal(width, 3, size.patch, size.patch, std=pixels**-0.5)
    t["visual.class_embedding"] = numbers.normal(width, std=scale)
    t["visual.positional_embedding"] = numbers.normal(size.grid**2 + 1, width, std=scale)
    norm("visual.ln_pre", width)
    tower("visual.", width, size.vision_layers)
    norm("visual.ln_post", width)
    t["visual.proj"] = numbers.normal(width, size.embed, std=scale)
    t["token_embedding.weight"] = numbers.normal(size.vocabulary, size.text_width, std=0.02)
    t["positional_embedding"] = numbers.normal(size.context, size.text_width, std=0.01)
    tower("", size.text_width, size.text_layers)
    norm("ln_final", size.text_width)
    t["text_projection"] = numbers.normal(size.text_width, size.embed, std=size.text_width**-0.5)
    t["logit_scale"] = torch.tensor(math.log(100.0))
    return {name: x.half() if is_half(name) else x for name, x in t.items()}


# Inception v3 as FID uses it ----------------------------------------------------------------------


@dataclass(frozen=True)
class Inception:
    """Inception has one size, because the code that loads it fixes every width."""

    def narrow(self) -> "Inception":
        return self


def inception_convolutions() -> dict[str, tuple[int, int, int, int]]:
    """{name in pytorch-fid's file: (channels in, channels out, kernel height, kernel width)}."""
    found = {
        "Conv2d_1a_3x3": (3, 32, 3, 3),
        "Conv2d_2a_3x3": (32, 32, 3, 3),
        "Conv2d_2b_3x3": (32, 64, 3, 3),
        "Conv2d_3b_1x1": (64, 80, 1, 1),
        "Conv2d_4a_3x3": (80, 192, 3, 3),
    }

    def block(name, **convolutions):
        found.update({f"{name}.{conv}": shape for conv, shape in convolutions.items()})

    def five(name, n, pool):  # 35x35
        block(
            name,
            branch1x1=(n, 64, 1, 1),
            branch5x5_1=(n, 48, 1, 1),
            branch5x5_2=(48, 64, 5, 5),
            branch3x3dbl_1=(n, 64, 1, 1),
            branch3x3dbl_2=(64, 96, 3, 3),
            branch3x3dbl_3=(96, 96, 3, 3),
            branch_pool=(n, pool, 1, 1),
        )

    def six(name, c):  # 17x17
        block(
            name,
            branch1x1=(768, 192, 1, 1),
            branch7x7_1=(768, c, 1, 1),
            branch7x7_2=(c, c, 1, 7),
            branch7x7_3=(c, 192, 7, 1),
            branch7x7dbl_1=(768, c, 1, 1),
            branch7x7dbl_2=(c, c, 7, 1),
            branch7x7dbl_3=(c, c, 1, 7),
            branch7x7dbl_4=(c, c, 7, 1),
            branch7x7dbl_5=(c, 192, 1, 7),
            branch_pool=(768, 192, 1, 1),
        )

    def seven(name, n):  # 8x8
        block(
            name,
            branch1x1=(n, 320, 1, 1),
            branch3x3_1=(n, 384, 1, 1),
            branch3x3_2a=(384, 384, 1, 3),
            branch3x3_2b=(384, 384, 3, 1),
            branch3x3dbl_1=(n, 448, 1, 1),
            branch3x3dbl_2=(448, 384, 3, 3),
            branch3x3dbl_3a=(384, 384, 1, 3),
            branch3x3dbl_3b=(384, 384, 3, 1),
            branch_pool=(n, 192, 1, 1),
        )

    five("Mixed_5b", 192, 32)
    five("Mixed_5c", 256, 64)
    five("Mixed_5d", 288, 64)
    block(
        "Mixed_6a",
        branch3x3=(288, 384, 3, 3),
        branch3x3dbl_1=(288, 64, 1, 1),
        branch3x3dbl_2=(64, 96, 3, 3),
        branch3x3dbl_3=(96, 96, 3, 3),
    )
    six("Mixed_6b", 128)
    six("Mixed_6c", 160)
    six("Mixed_6d", 160)
    six("Mixed_6e", 192)
    block(
        "Mixed_7a",
        branch3x3_1=(768, 192, 1, 1),
        branch3x3_2=(192, 320, 3, 3),
        branch7x7x3_1=(768, 192, 1, 1),
        branch7x7x3_2=(192, 192, 1, 7),
        branch7x7x3_3=(192, 192, 7, 1),
        branch7x7x3_4=(192, 192, 3, 3),
    )
    seven("Mixed_7b", 1280)
    seven("Mixed_7c", 2048)
    return found


def inception_tensors(size: Inception, numbers: Numbers) -> dict[str, Tensor]:
    """Inception v3 of 1008 classes under the names of pytorch-fid's file."""
    t = {}
    for name, (n_in, n_out, height, width) in inception_convolutions().items():
        std = (2 / (n_in * height * width)) ** 0.5
        t[f"{name}.conv.weight"] = numbers.normal(n_out, n_in, height, width, std=std)
        t[f"{name}.bn.weight"] = numbers.normal(n_out, std=SMALL, mean=1.0)
        t[f"{name}.bn.bias"] = numbers.normal(n_out, std=SMALL)
        t[f"{name}.bn.running_mean"] = numbers.normal(n_out, std=SMALL)
        t[f"{name}.bn.running_var"] = numbers.uniform(n_out, low=0.7, high=1.3)
    t["fc.weight"] = numbers.normal(1008, 2048, std=2048**-0.5)
    t["fc.bias"] = numbers.normal(1008, std=SMALL)
    return t


# VGG16 --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vgg:
    """VGG16; width: of the classifier behind the trunk, which LPIPS ignores."""

    classifier: int = 4096

    def narrow(self) -> "Vgg":
        return replace(self, classifier=8)


# torchvision's `features`: place of each convolution, channels in, channels out.
VGG_CONVOLUTIONS = (
    *((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128)),
    *((10, 128, 256), (12, 256, 256), (14, 256, 256)),
    *((17, 256, 512), (19, 512, 512), (21, 512, 512)),
    *((24, 512, 512), (26, 512, 512), (28, 512, 512)),
)


def vgg_tensors(size: Vgg, numbers: Numbers) -> dict[str, Tensor]:
    """VGG16 under torchvision's names."""
    t = {}
    for place, n_in, n_out in VGG_CONVOLUTIONS:
        t[f"features.{place}.weight"] = numbers.normal(
            n_out, n_in, 3, 3, std=(2 / (9 * n_in)) ** 0.5
        )
        t[f"features.{place}.bias"] = numbers.normal(n_out, std=SMALL)
    width = size.classifier
    for place, n_in, n_out in ((0, 512 * 7 * 7, width), (3, width, width), (6, width, 1000)):
        t[f"classifier.{place}.weight"] = numbers.normal(n_out, n_in, std=(2 / n_in) ** 0.5)
        t[f"classifier.{place}.bias"] = numbers.normal(n_out, std=SMALL)
    return t
