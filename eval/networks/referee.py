"""The two networks that measure in the mini world: a perceptual network and a judge.

The perceptual network takes the place of Inception (FID features) and VGG (LPIPS trunk); the judge
classifies images and estimates factors such as pose. Their architectures differ on purpose, so that images
that fool one need not fool the other. Neither takes part in any adaptation.
"""

import copy

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError
from nada.run.manifest import METADATA_KEY, described, read_weights

#: The judge's last class: noise, shuffled patches, cross-fades, over-saturated images.
NONE_OF_THESE = "none of these"


def _heads(features: int, classes: int, styles: int, factors: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "class_logits": nn.Linear(features, classes),
            "style_logits": nn.Linear(features, styles),
            "factors": nn.Linear(features, factors),
        }
    )


def _check_images(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 16:
        raise ValueError(f"images: shape [N,3,H,W] with H, W >= 16 expected, got {list(x.shape)}")


class PerceptualNet(nn.Module):
    """Plain convolutions in four stages: the trunk of LPIPS, and the features of FID.

    classes, styles, factors: names, for the heads that only pre-training uses.
    widths: channels of the four stages, each two 3x3 convolutions (batch norm, ReLU) at 1, 1/2,
        1/4 and 1/8 of the input's size. The last width is the number of FID features.
    Inputs of 16 px or more; only the size of the maps depends on it.
    """

    def __init__(self, classes, styles, factors, widths=(32, 64, 96, 128)):
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths: four stages expected, got {list(widths)}")
        self.config = {
            "classes": list(classes),
            "styles": list(styles),
            "factors": list(factors),
            "widths": list(widths),
        }
        self.class_names, self.style_names = list(classes), list(styles)
        self.factor_names = list(factors)
        self.widths = tuple(widths)
        blocks, previous = [], 3
        for width in widths:
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(previous, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
            )
            previous = width
        self.blocks = nn.ModuleList(blocks)
        self.heads = _heads(previous, len(classes), len(styles), len(factors))

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector."""
        return self.widths[-1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """Images [N,3,H,W] in [-1,1] -> four maps [N,width,H/2^s,W/2^s], all >= 0."""
        _check_images(x)
        maps = []
        for stage, block in enumerate(self.blocks):
            x = block(x if stage == 0 else F.max_pool2d(x, 2))
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Images [N,3,H,W] in [-1,1] -> the last stage's spatial mean [N,feature_dim]."""
        return self.stages(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pre-training heads: class_logits [N,C], style_logits [N,S], factors [N,F]."""
        features = self.features(x)
        return {name: head(features) for name, head in self.heads.items()}


class _ResidualBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016b) with SiLU; stride 2 halves the map."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.stride = stride
        self.skip = None if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm1(x))
        skip = x if self.stride == 1 else F.avg_pool2d(x, self.stride)
        if self.skip is not None:
            skip = self.skip(skip)
        return skip + self.conv2(F.silu(self.norm2(self.conv1(y))))


class JudgeNet(nn.Module):
    """A residual network that estimates class, style and factors of an image.

    classes: names of species; `class_names` adds "none of these" as the last logit.
    styles, factors: names. widths: channels of the stem (5x5, stride 2) and of the three residual
    stages at 1/2, 1/4 and 1/8 of the input's size. depths: blocks per residual stage.
    """

    def __init__(self, classes, styles, factors, widths=(32, 48, 96, 160), depths=(2, 1, 1)):
        super().__init__()
        if len(widths) != len(depths) + 1:
            raise ValueError(f"widths {list(widths)}: one more than depths {list(depths)} expected")
        if NONE_OF_THESE in classes:
            raise ValueError(f"classes: leave out {NONE_OF_THESE!r}, the judge adds it itself")
        self.config = {
            "classes": list(classes),
            "styles": list(styles),
            "factors": list(factors),
            "widths": list(widths),
            "depths": list(depths),
        }
        self.class_names = [*classes, NONE_OF_THESE]
        self.style_names, self.factor_names = list(styles), list(factors)
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2, bias=False)
        blocks, previous = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths[1:], depths, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(_ResidualBlock(previous, width, stride))
                previous = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(previous)
        self.heads = _heads(2 * previous, len(self.class_names), len(styles), len(factors))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images [N,3,H,W] in [-1,1] -> class_logits [N,C+1], style_logits [N,S], factors [N,F]."""
        _check_images(x)
        x = F.silu(self.norm(self.blocks(self.stem(x))))
        # the mean for what fills the image (style), the maximum for what is at one place (ears)
        features = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
        return {name: head(features) for name, head in self.heads.items()}


def fused(net: PerceptualNet) -> PerceptualNet:
    """A copy for measuring: batch norms folded into their convolutions, channels last.

    Takes about half the time on a CPU; features differ by rounding (1e-6 relative).
    """
    net = copy.deepcopy(net).eval()
    for block in net.blocks:
        layers = list(block)
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.BatchNorm2d):
                block[index - 1] = fuse_conv_bn_eval(layers[index - 1], layer)
                block[index] = nn.Identity()
    return net.to(memory_format=torch.channels_last).requires_grad_(False)


_KINDS = {"perceptual": PerceptualNet, "judge": JudgeNet}


def save_network(path, net: nn.Module, metadata: dict | None = None) -> None:
    """Write a PerceptualNet or JudgeNet as safetensors, floating-point tensors as fp16.

    path: the file, written atomically. metadata: JSON, such as recipe, seed and held-out scores.
    ValueError: a weight that is not finite in fp16.
    """
    kind = next(name for name, cls in _KINDS.items() if type(net) is cls)
    tensors = {}
    for name, tensor in net.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if half.is_floating_point() and not half.isfinite().all():
            raise ValueError(f"{kind} network: tensor {name} is not finite in fp16")
        tensors[name] = half.detach().cpu().contiguous()
    about = {"kind": kind, "config": net.config, "metadata": metadata or {}}
    with atomic_path(path) as temporary:
        # one metadata key: safetensors writes several in a random order
        save_file(tensors, str(temporary), metadata={METADATA_KEY: canonical_json(about)})


def _load(path, kind: str) -> nn.Module:
    tensors, metadata = read_weights(path)
    about = described(metadata)
    if about.get("kind") != kind:
        found = f"a {about['kind']} network" if "kind" in about else "no network of the referee"
        raise UserError(f"{path}: holds {found}, a {kind} network is needed here.")
    try:
        net = _KINDS[kind](**about["config"])
        net.load_state_dict(tensors)
        net.metadata = about["metadata"]
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: weights and architecture do not match: {reason}") from None
    return net.eval().requires_grad_(False)


def load_perceptual(path) -> PerceptualNet:
    """Read a perceptual network (float32, eval mode, frozen; `.metadata` holds its recipe).

    UserError: no file, truncated file, another kind of network, mismatching tensors.
    """
    return _load(path, "perceptual")


def load_judge(path) -> JudgeNet:
    """Read a judge (float32, eval mode, frozen; `.metadata` holds its recipe); errors as in `load_perceptual`."""
    return _load(path, "judge")
