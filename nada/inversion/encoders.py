"""Encoders of images into W+: pSp, e4e, and the backbones of ReStyle.

pSp: Richardson et al. 2021, "Encoding in Style". e4e: Tov et al. 2021, "Designing an Encoder for
StyleGAN Image Manipulation". ReStyle: Alaluf et al. 2021. Architectures, constants and names of
tensors are those of the public code, so that its checkpoints load (nada/inversion/files.py):
eladrich/pixel2style2pixel and omertov/encoder4editing, models/encoders/psp_encoders.py;
yuval-alaluf/restyle-encoder, models/encoders/{fpn,restyle_psp,restyle_e4e}_encoders.py. The residual
unit is ArcFace's IR-SE (Deng et al. 2019).

Sizes follow from the arguments, so that the mini world has small encoders of the same kind.
"""

import math
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.stylegan2.ops import EqualizedLinear, check_resolution, fast_layout

COARSE, MIDDLE = 3, 7  # first slots that read the 1/8 and the 1/4 map of the pyramid (public coarse_ind, middle_ind)
WIDTHS = (64, 128, 256, 512)  # features of the four stages of both trunks
DEPTHS = {"ir_se": (3, 4, 14, 3), "resnet": (3, 4, 6, 3)}  # units a stage: IR-SE50, ResNet-34
INPUT_SIZE = 256  # pixels; images are resized to it (public transforms_config.py)
STRIDE = 16  # of the last map: 16x16 for an input of 256 pixels
SE_REDUCTION = 16  # of the squeeze-and-excitation layer
RGB = 3


class Kind(NamedTuple):
    """What differs between the encoders.

    trunk: 'ir_se' (faces) or 'resnet' (other domains). pyramid: slots read three maps of a feature
    pyramid; otherwise all read the last map. deltas: slot i is slot 0 plus a delta (e4e).
    """

    trunk: str
    pyramid: bool
    deltas: bool


#: By the names that public checkpoints record as `encoder_type`.
KINDS = {
    "GradualStyleEncoder": Kind("ir_se", pyramid=True, deltas=False),  # pSp
    "Encoder4Editing": Kind("ir_se", pyramid=True, deltas=True),  # e4e
    "BackboneEncoder": Kind("ir_se", pyramid=False, deltas=False),  # ReStyle over pSp
    "ProgressiveBackboneEncoder": Kind("ir_se", pyramid=False, deltas=True),  # ReStyle over e4e
    "ResNetGradualStyleEncoder": Kind("resnet", pyramid=True, deltas=False),
    "ResNetBackboneEncoder": Kind("resnet", pyramid=False, deltas=False),
    "ResNetProgressiveBackboneEncoder": Kind("resnet", pyramid=False, deltas=True),
}


def num_styles(resolution: int) -> int:
    """W+ slots of a generator: 2 log2(resolution) - 2."""
    return 2 * check_resolution(resolution) - 2


# Parts --------------------------------------------------------------------------------------------


class SqueezeExcitation(nn.Module):
    """x · sigmoid(fc2 relu(fc1 mean(x))), one factor per feature: [N,C,H,W] -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // SE_REDUCTION)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(squeezed))


class IRSEUnit(nn.Module):
    """ArcFace's improved residual unit with squeeze-and-excitation: [N,in,H,W] -> [N,out,H/s,W/s].

    Residual: batch norm, conv, PReLU, conv of stride s, batch norm, excitation. Shortcut: every s-th
    pixel, or a 1x1 convolution with batch norm where the widths differ.
    """

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        if before == after:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            SqueezeExcitation(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class BasicUnit(nn.Module):
    """ResNet's basic block (He et al. 2016) under torchvision's names: [N,in,H,W] -> [N,out,H/s,W/s]."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class MapToStyle(nn.Module):
    """A feature map [N,in,S,S] -> the code of one slot [N,style_dim] (pSp's map2style).

    log2(S) convolutions of stride 2 with leaky ReLU of slope 0.01, at least one, then an equalised
    linear layer. width: features of the convolutions.
    """

    def __init__(self, features: int, style_dim: int, size: int, width: int):
        super().__init__()
        widths = [features] + [width] * max(1, math.ceil(math.log2(size)))
        layers = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, padding=1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualizedLinear(width, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


# The encoder --------------------------------------------------------------------------------------


class StyleEncoder(nn.Module):
    """Images [N,in_channels,S,S] -> offsets [N,num_styles,style_dim] from the mean of w.

    kind: a name of KINDS. num_styles: W+ slots of the generator. in_channels: 3 for images in [-1,1],
    the number of classes for one-hot masks, 1 for line drawings in [0,1]; plus 3 for ReStyle, which
    appends the current image. input_size: S, pixels, a power of two from 32. widths, depths: features
    and units of the four stages; None: those of the published trunk. head_width: features of the heads'
    convolutions; None: style_dim, as published.

    `deltas`: with the kinds of e4e, the number of slots after the first that have a delta; the others
    repeat slot 0. Progressive training raises it from 0 (Tov et al. 2021); all by default.
    """

    def __init__(
        self,
        kind: str,
        num_styles: int,
        in_channels: int = RGB,
        style_dim: int = 512,
        input_size: int = INPUT_SIZE,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] | None = None,
        head_width: int | None = None,
    ):
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"encoder kind: {kind!r} given, must be one of {', '.join(KINDS)}")
        self.kind = KINDS[kind]
        depths = tuple(DEPTHS[self.kind.trunk] if depths is None else depths)
        head_width = style_dim if head_width is None else head_width
        _check_sizes(num_styles, in_channels, style_dim, head_width, input_size, tuple(widths), depths)
        self.config = {
            "kind": kind,
            "num_styles": num_styles,
            "in_channels": in_channels,
            "style_dim": style_dim,
            "input_size": input_size,
            "widths": list(widths),
            "depths": list(depths),
            "head_width": head_width,
        }
        self.num_styles, self.input_size = num_styles, input_size
        self.deltas = num_styles - 1
        self._add_trunk(in_channels, widths, depths)
        sizes = [input_size // STRIDE * 2**self._level(slot) for slot in range(num_styles)]
        self.styles = nn.ModuleList(
            MapToStyle(widths[-1], style_dim, size, head_width) for size in sizes
        )
        if self.kind.pyramid:
            self.latlayer1 = nn.Conv2d(widths[-2], widths[-1], 1)
            self.latlayer2 = nn.Conv2d(widths[-3], widths[-1], 1)

    def _add_trunk(self, in_channels: int, widths, depths) -> None:
        """The stem and the units of four stages; the last maps of stages 2 to 4 are 1/4, 1/8 and 1/16."""
        stem, unit, first_stride = widths[0], IRSEUnit, 2
        if self.kind.trunk == "ir_se":
            self.input_layer = nn.Sequential(
                nn.Conv2d(in_channels, stem, 3, padding=1, bias=False),
                nn.BatchNorm2d(stem),
                nn.PReLU(stem),
            )
        else:
            self.conv1 = nn.Conv2d(in_channels, stem, 7, 2, padding=3, bias=False)
            self.bn1, self.relu = nn.BatchNorm2d(stem), nn.PReLU(stem)
            unit, first_stride = BasicUnit, 1
        units, before = [], stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stride = first_stride if stage == 0 else 2
            units += [unit(before, width, stride), *(unit(width, width, 1) for _ in range(depth - 1))]
            before = width
        self.body = nn.Sequential(*units)
        self._stage_ends = [end - 1 for end in accumulate(depths)]

    def _level(self, slot: int) -> int:
        """The pyramid's level that a slot reads: 0 is the last map, each further one twice as large."""
        if not self.kind.pyramid or slot < COARSE:
            return 0
        return 1 if slot < MIDDLE else 2

    def maps(self, x: Tensor) -> list[Tensor]:
        """The trunk's maps of 1/16, 1/8 and 1/4 of the input's size, in this order."""
        x = fast_layout(x)
        if self.kind.trunk == "ir_se":
            x = self.input_layer(x)
        else:
            x = self.relu(self.bn1(self.conv1(x)))
        found = []
        for number, unit in enumerate(self.body):
            x = unit(x)
            if number in self._stage_ends[1:]:
                found.append(x)
        return found[::-1]

    def forward(self, x: Tensor) -> Tensor:
        self._check_input(x)
        last, middle, early = self.maps(x)
        levels = [last]
        slots = min(self.deltas + 1, self.num_styles) if self.kind.deltas else self.num_styles
        if self.kind.pyramid and slots > COARSE:
            levels.append(_upsampled(levels[-1], middle.shape) + self.latlayer1(middle))
        if self.kind.pyramid and slots > MIDDLE:
            levels.append(_upsampled(levels[-1], early.shape) + self.latlayer2(early))
        codes = [self.styles[slot](levels[self._level(slot)]) for slot in range(slots)]
        if self.kind.deltas:
            first = codes[0]
            codes = [first, *(first + delta for delta in codes[1:])]
            codes += [first] * (self.num_styles - slots)
        return torch.stack(codes, dim=1)

    def _check_input(self, x: Tensor) -> None:
        side, channels = self.input_size, self.config["in_channels"]
        # the public encoders of cars take images of 3:4
        heights = (side, side * 3 // 4)
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] not in heights or x.shape[3] != side:
            raise UserError(
                f"images: shape {list(x.shape)} given, but this encoder takes "
                f"[N, {channels}, {side}, {side}]; resize them first"
            )


def _upsampled(x: Tensor, shape: torch.Size) -> Tensor:
    """Bilinear, corners aligned, to the height and width of `shape`."""
    return F.interpolate(x, shape[2:], mode="bilinear", align_corners=True)


def _check_sizes(num_styles, in_channels, style_dim, head_width, input_size, widths, depths) -> None:
    if num_styles < 2 or min(in_channels, style_dim, head_width) < 1:
        raise UserError(
            f"encoder: num_styles {num_styles}, in_channels {in_channels}, style_dim {style_dim} and "
            f"head_width {head_width} given; the first must be at least 2, the others 1"
        )
    if input_size < 2 * STRIDE or input_size & (input_size - 1):
        raise UserError(
            f"encoder: input_size {input_size} given, must be a power of two from {2 * STRIDE} up"
        )
    if len(widths) != 4 or len(depths) != 4 or min(*widths, *depths) < 1:
        raise UserError(
            f"encoder: widths {list(widths)} and depths {list(depths)} given; each must be four "
            "numbers of at least 1"
        )


def weights_needed(config: dict) -> int:
    """Approximate numbers in the weights of an encoder, from its `config`; allocates nothing."""
    widths, head_width = config["widths"], config["head_width"]
    pairs = [(widths[0], widths[0]), *pairwise(widths)]
    trunk = 9 * config["in_channels"] * widths[0] + sum(
        9 * after * (before + after) + 18 * after * after * (depth - 1)
        for (before, after), depth in zip(pairs, config["depths"], strict=True)
    )
    convs = math.log2(config["input_size"] // STRIDE)
    head = 9 * head_width * (widths[-1] + head_width * (convs - 1)) + head_width * config["style_dim"]
    return int(trunk + config["num_styles"] * head)
