"""The OASIS generator: label maps and 3D noise -> images (Schönfeld et al. 2021).

A residual network whose normalisations are SPADE (Park et al. 2019, §3, Eq. 1): the label map scales and
shifts the normalised features at every position. Channel order and the names and order of tensors are
those of the public code's checkpoints (boschresearch/OASIS, models/generator.py and norms.py at 307c852).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.run.errors import UserError

LRELU_SLOPE = 0.2
NORM_EPS = 1e-5  # of the batch normalisation, torch's default
NORM_MOMENTUM = 0.1
SPECTRAL_EPS = 1e-12  # guard in the power iteration's normalisation
FIRST_ITERATIONS = 15  # of a new layer's u and v, as in torch.nn.utils.parametrizations
COCO_CLASSES = 183  # COCO-Stuff's 182 and the unknown one, which is 0
UNLABELLED = 255  # the pixel of COCO-Stuff's maps where nothing is labelled
#: Arguments of a generator for label maps of 32 px, for tests and the mini world: 3 blocks, 8 to 32 px.
SMALL = {"resolution": 32, "width": 8, "z_dim": 8, "hidden": 16, "multipliers": (4, 4, 2, 1)}


class SpectralConv(nn.Module):
    """A convolution whose weight is divided by its largest singular value (Miyato et al. 2018, §2.1).

        W = W_orig / σ,  σ = uᵀ M v,  M = W_orig as a matrix [out, in · k · k]

    u, v: estimates of the first singular vectors. In training mode each call improves them by one power
    iteration; in evaluation mode they are constants, as the checkpoints have them (an average of u is not
    exactly of length 1). A new layer starts with a few iterations, since random u and v would give any σ.
    Stride 1, padding k // 2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True):
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel)  # for torch's initialisation
        self.bias = nn.Parameter(plain.bias.detach()) if bias else None
        self.weight_orig = nn.Parameter(plain.weight.detach())
        matrix = self.weight_orig.flatten(1)
        self.register_buffer("weight_u", _unit(torch.randn(matrix.shape[0])))
        self.register_buffer("weight_v", _unit(torch.randn(matrix.shape[1])))
        self.padding = kernel // 2
        for _ in range(FIRST_ITERATIONS):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration: v = Mᵀu / ‖Mᵀu‖, u = M v / ‖M v‖."""
        matrix = self.weight_orig.flatten(1)
        self.weight_v.copy_(_unit(matrix.T @ self.weight_u))
        self.weight_u.copy_(_unit(matrix @ self.weight_v))

    def weight(self) -> Tensor:
        """The normalised weight [out,in,k,k]; differentiable in `weight_orig`, through σ too."""
        if self.training:
            self.iterate()
        # copies: the next call may change the buffers before this call's backward pass
        sigma = torch.dot(self.weight_u.clone(), self.weight_orig.flatten(1) @ self.weight_v.clone())
        return self.weight_orig / sigma

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(), self.bias, padding=self.padding)


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector, dim=0, eps=SPECTRAL_EPS)


class Spade(nn.Module):
    """Normalisation that a label map modulates (Park et al. 2019, Eq. 1).

        out = (x − μ_c) / √(σ_c² + ε) · (1 + γ(m)) + β(m)

    x [N,channels,H,W]; m [N,conditions,H,W], the label map with its noise at the size of x. γ and β are
    two convolutions on shared features of m. μ_c and σ_c² of channel c are the batch's in training mode
    and running averages in evaluation mode. Published models normalise over the batches of several GPUs.
    """

    def __init__(self, channels: int, conditions: int, hidden: int, kernel: int):
        super().__init__()
        padding = kernel // 2
        self.first_norm = nn.BatchNorm2d(
            channels, eps=NORM_EPS, momentum=NORM_MOMENTUM, affine=False
        )
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(conditions, hidden, kernel, padding=padding), nn.ReLU()
        )
        self.mlp_gamma = nn.Conv2d(hidden, channels, kernel, padding=padding)
        self.mlp_beta = nn.Conv2d(hidden, channels, kernel, padding=padding)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shared = self.mlp_shared(condition)
        return self.first_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeBlock(nn.Module):
    """x + conv_1(lrelu(norm_1(conv_0(lrelu(norm_0(x)))))); [N,in,H,W] -> [N,out,H,W].

    Where in and out differ, the shortcut is conv_s(norm_s(x)), a 1x1 convolution without bias. The middle
    has min(in, out) channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, conditions: int, hidden: int, kernel: int
    ):
        super().__init__()
        middle = min(in_channels, out_channels)
        self.widens = in_channels != out_channels
        self.conv_0 = SpectralConv(in_channels, middle, 3)
        self.conv_1 = SpectralConv(middle, out_channels, 3)
        if self.widens:
            self.conv_s = SpectralConv(in_channels, out_channels, 1, bias=False)
        self.norm_0 = Spade(in_channels, conditions, hidden, kernel)
        self.norm_1 = Spade(middle, conditions, hidden, kernel)
        if self.widens:
            self.norm_s = Spade(in_channels, conditions, hidden, kernel)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shortcut = self.conv_s(self.norm_s(x, condition)) if self.widens else x
        x = self.conv_0(_lrelu(self.norm_0(x, condition)))
        return shortcut + self.conv_1(_lrelu(self.norm_1(x, condition)))


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LRELU_SLOPE)


class OasisGenerator(nn.Module):
    """One-hot label maps [N,classes,H,W] and noise z -> images [N,3,H,W] in (-1,1).

    classes: labels with the unknown one. resolution: the image's width W, a multiple of 2^(blocks-1);
    aspect_ratio: W / H. z_dim: channels of the noise, 0 for none. width and multipliers: block i maps
    width · multipliers[i] channels to width · multipliers[i + 1]; between blocks the side doubles. hidden,
    kernel: channels and kernel of the convolutions inside SPADE. The defaults are those of the published
    model of COCO-Stuff. Raises UserError for a resolution that the blocks do not give.
    """

    def __init__(
        self,
        classes: int = COCO_CLASSES,
        resolution: int = 256,
        aspect_ratio: float = 1.0,
        z_dim: int = 64,
        width: int = 64,
        multipliers: tuple[int, ...] = (16, 16, 16, 8, 4, 2, 1),
        hidden: int = 128,
        kernel: int = 3,
    ):
        super().__init__()
        self.config = {
            "classes": classes,
            "resolution": resolution,
            "aspect_ratio": aspect_ratio,
            "z_dim": z_dim,
            "width": width,
            "multipliers": list(multipliers),
            "hidden": hidden,
            "kernel": kernel,
        }
        self.classes, self.z_dim = classes, z_dim
        ups = len(multipliers) - 2
        self.start = _start_size(resolution, aspect_ratio, ups)
        self.size = (self.start[0] << ups, self.start[1] << ups)
        channels = [width * multiplier for multiplier in multipliers]
        conditions = z_dim + classes
        # in the order of the public code's state dict
        self.conv_img = nn.Conv2d(channels[-1], 3, 3, padding=1)
        self.body = nn.ModuleList(
            SpadeBlock(n_in, n_out, conditions, hidden, kernel) for n_in, n_out in pairwise(channels)
        )
        self.fc = nn.Conv2d(conditions, channels[0], 3, padding=1)

    def draw_noise(self, count: int, stream: torch.Generator | None = None) -> Tensor:
        """Unit normal z [count,z_dim] on the generator's device; stream: on that device, None: torch's."""
        device = self.fc.weight.device
        return torch.randn(count, self.z_dim, generator=stream, device=device, dtype=self.fc.weight.dtype)

    def forward(self, labels: Tensor, z: Tensor) -> Tensor:
        """labels: one-hot [N,classes,H,W], see `nada.images.label_maps.one_hot`.

        z: [N,z_dim], the same at every position as in the public code, or [N,z_dim,H,W], with which
        parts of an image can be drawn anew. The public code draws z inside
        its forward pass; here it is an argument, so that two generators can share it.
        """
        condition = torch.cat([self._noise_map(labels, z), labels], dim=1)  # the noise comes first
        x = self.fc(F.interpolate(condition, size=self.start, mode="nearest"))
        for i, block in enumerate(self.body):
            if i > 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, F.interpolate(condition, size=x.shape[2:], mode="nearest"))
        return torch.tanh(self.conv_img(_lrelu(x)))

    def _noise_map(self, labels: Tensor, z: Tensor) -> Tensor:
        """z at every position, [N,z_dim,H,W]. Raises UserError for labels or noise of another shape."""
        if labels.ndim != 4 or labels.shape[1:] != (self.classes, *self.size):
            raise UserError(
                f"label maps: shape {list(labels.shape)} given, but this OASIS generator takes one-hot "
                f"[N, {self.classes}, {self.size[0]}, {self.size[1]}]."
            )
        shape = (len(labels), self.z_dim)
        if tuple(z.shape) == shape:
            z = z[:, :, None, None].expand(-1, -1, *self.size)
        if tuple(z.shape) != (*shape, *self.size):
            raise UserError(
                f"noise: shape {list(z.shape)} given, but this OASIS generator takes {list(shape)}, or "
                f"{[*shape, *self.size]}, for {len(labels)} label maps."
            )
        return z


def _start_size(resolution: int, aspect_ratio: float, ups: int) -> tuple[int, int]:
    """Height and width of the first feature map; UserError if doubling them does not give the image."""
    width = resolution >> ups
    if width < 1 or width << ups != resolution:
        raise UserError(
            f"resolution: {resolution} given, but an OASIS generator that doubles the side {ups} times "
            f"needs a multiple of {1 << ups}."
        )
    height = round(width / aspect_ratio)
    if height < 1:
        raise UserError(
            f"aspect_ratio: {aspect_ratio} given; width / height must leave a height of 1 or more at "
            f"the first width of {width}."
        )
    return height, width


def coco_stuff_labels(pixels: Tensor) -> Tensor:
    """Pixels uint8 [N,H,W] of COCO-Stuff's stuff-thing maps -> labels of the published generator.

    A pixel v in 0..181 is the category v + 1 of COCO-Stuff's labels.txt; 255, unlabelled, is 0. (Public
    code, dataloaders/CocoStuffDataset.py; README of nightrome/cocostuff.) UserError for other values.
    """
    ids = pixels.long()
    wrong = (ids != UNLABELLED) & ((ids < 0) | (ids >= COCO_CLASSES - 1))
    if wrong.any():
        raise UserError(
            f"label map: has the value {ids[wrong][0].item()}; a stuff-thing map of COCO-Stuff has 0 to "
            f"{COCO_CLASSES - 2}, or {UNLABELLED} where nothing is labelled."
        )
    return torch.where(ids == UNLABELLED, 0, ids + 1)
