"""Slow, literal forward passes of the published networks, references for the fast ones.

Written from the papers and from the descriptions of the layouts; they share no code with what they
test. Tensors have the names of the published files: NVlabs' PyTorch names for StyleGAN2,
pytorch-fid's for Inception. Any float type; with float64, only the tested side rounds.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d
from torch import Tensor

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
LR_MUL = 0.01  # of the mapping network (Karras et al. 2019, appendix C)

# StyleGAN2's operations ---------------------------------------------------------------------------


def zero_insert(channel: np.ndarray) -> np.ndarray:
    """[H,W] -> [2H,2W] with a zero after every sample."""
    out = np.zeros((2 * channel.shape[0], 2 * channel.shape[1]), channel.dtype)
    out[::2, ::2] = channel
    return out


def per_channel(x: Tensor, function) -> Tensor:
    """Apply a function of one [H,W] array to every sample and channel of a tensor."""
    rows = [[function(channel) for channel in sample] for sample in x.detach().numpy()]
    return torch.from_numpy(np.array(rows))


def upsample(x: Tensor) -> Tensor:
    """Insert zeros, pad (2,1), filter with 4 * FIR: [N,C,H,W] -> [N,C,2H,2W]."""
    return per_channel(
        x, lambda c: convolve2d(np.pad(zero_insert(c), ((2, 1), (2, 1))), 4 * FIR, mode="valid")
    ).to(x.dtype)


def filtered(x: Tensor, gain: float, pad: int) -> Tensor:
    """Every channel of [N,C,H,W] padded and convolved with gain * FIR."""
    fir = torch.from_numpy(gain * FIR).to(x).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, fir, padding=pad, groups=x.shape[1])


def zero_insert_up_conv(x: Tensor, weight: Tensor) -> Tensor:
    """The up-convolution by its definition: inserted zeros, then two dense filters."""
    n, c, height, width = x.shape
    inserted = x.new_zeros(n, c, 2 * height - 1, 2 * width - 1)
    inserted[:, :, ::2, ::2] = x
    return filtered(F.conv2d(inserted, weight.flip(2, 3), padding=2), gain=4, pad=1)


def dense_down_conv(x: Tensor, weight: Tensor) -> Tensor:
    """FIR with padding 2 (3x3) or 1 (1x1), a convolution at every place, every second one kept."""
    x = filtered(x, gain=1, pad=(weight.shape[-1] + 1) // 2)
    return F.conv2d(x, weight)[:, :, ::2, ::2]


def per_sample_weight(weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """W'_noik = c * s_ni * W_oik, demodulated: [N,out,in,k,k]."""
    c = 1 / np.sqrt(weight.shape[1] * weight.shape[2] * weight.shape[3])
    modulated = c * style[:, None, :, None, None] * weight[None]
    if demodulate:
        norm = (modulated**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8
        modulated = modulated / norm.sqrt()
    return modulated


def modulated_conv(x, weight, style, demodulate=True, up=False) -> Tensor:
    """Sample by sample, each with its own weights."""
    kernels = per_sample_weight(weight, style, demodulate)
    pad = weight.shape[-1] // 2
    rows = [
        zero_insert_up_conv(x[i : i + 1], kernel)
        if up
        else F.conv2d(x[i : i + 1], kernel, padding=pad)
        for i, kernel in enumerate(kernels)
    ]
    return torch.cat(rows)


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """Sample by sample: group m holds the samples m, m+M, m+2M, ..."""
    x = x.detach().numpy()
    m_groups = len(x) // group
    channel = np.empty((len(x), 1, *x.shape[2:]), x.dtype)
    for m in range(m_groups):
        members = list(range(m, len(x), m_groups))
        assert len(members) == group
        deviation = np.sqrt(np.mean((x[members] - x[members].mean(axis=0)) ** 2, axis=0) + 1e-8)
        channel[members] = deviation.mean()
    return torch.from_numpy(np.concatenate([x, channel], axis=1))


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2)."""
    return torch.where(x >= 0, x, 0.2 * x) * np.sqrt(2)


def dense(x: Tensor, t: dict, name: str, lr_mul: float = 1.0) -> Tensor:
    """x [N,in] through the layer `name` -> [N,out]; both its tensors count lr_mul times."""
    weight = t[f"{name}.weight"] * lr_mul
    return x @ weight.T / np.sqrt(weight.shape[1]) + t[f"{name}.bias"] * lr_mul


# StyleGAN2 ----------------------------------------------------------------------------------------


def mapping(t: dict, z: Tensor) -> Tensor:
    """z [N,z] -> w [N,w]."""
    x = z / torch.sqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)
    layer = 0
    while f"mapping.fc{layer}.weight" in t:
        x = lrelu(dense(x, t, f"mapping.fc{layer}", LR_MUL))
        layer += 1
    return x


def generator(t: dict, w_plus: Tensor) -> Tensor:
    """Images [N,3,R,R] of W+ codes with constant noise, block by block."""

    def styled(x, name, slot, up):
        style = dense(w_plus[:, slot], t, f"{name}.affine")
        x = modulated_conv(x, t[f"{name}.weight"], style, up=up)
        x = x + t[f"{name}.noise_strength"] * t[f"{name}.noise_const"]
        return lrelu(x + t[f"{name}.bias"][None, :, None, None])

    def rgb(x, name, slot):
        style = dense(w_plus[:, slot], t, f"{name}.affine")
        x = modulated_conv(x, t[f"{name}.weight"], style, demodulate=False)
        return x + t[f"{name}.bias"][None, :, None, None]

    x = t["synthesis.b4.const"].repeat(len(w_plus), 1, 1, 1)
    x = styled(x, "synthesis.b4.conv1", 0, up=False)
    image = rgb(x, "synthesis.b4.torgb", 1)
    for j in range(w_plus.shape[1] // 2 - 1):
        block = f"synthesis.b{8 << j}"
        x = styled(x, f"{block}.conv0", 2 * j + 1, up=True)
        x = styled(x, f"{block}.conv1", 2 * j + 2, up=False)
        image = upsample(image) + rgb(x, f"{block}.torgb", 2 * j + 3)
    return image


def discriminator(t: dict, images: Tensor, group: int) -> Tensor:
    """Logits [N,1] of images [N,3,R,R]; `group` divides N."""

    def conv(x, name, down=False):
        weight = t[f"{name}.weight"]
        weight = weight / np.sqrt(weight.shape[1] * weight.shape[2] ** 2)
        x = (
            dense_down_conv(x, weight)
            if down
            else F.conv2d(x, weight, padding=weight.shape[2] // 2)
        )
        bias = t.get(f"{name}.bias")
        return x if bias is None else x + bias[None, :, None, None]

    side = images.shape[2]
    x = lrelu(conv(images, f"b{side}.fromrgb"))
    while side > 4:
        main = lrelu(conv(x, f"b{side}.conv0"))
        main = lrelu(conv(main, f"b{side}.conv1", down=True))
        x = (main + conv(x, f"b{side}.skip", down=True)) / np.sqrt(2)
        side //= 2
    x = lrelu(conv(minibatch_std(x, group), "b4.conv"))
    return dense(lrelu(dense(x.reshape(len(x), -1), t, "b4.fc")), t, "b4.out")


# Inception v3 as FID uses it (Heusel et al. 2017; TensorFlow's network of 2015) -------------------

BATCH_NORM_EPS = 1e-3


def inception(t: dict, x: Tensor) -> Tensor:
    """Normalised images [N,3,299,299] -> features [N,2048] before the last layer."""

    def conv(x, name, stride=1, same=True):
        weight, bn = t[f"{name}.conv.weight"], f"{name}.bn"
        pad = (weight.shape[2] // 2, weight.shape[3] // 2) if same else 0
        x = F.conv2d(x, weight, stride=stride, padding=pad)
        centred = x - t[f"{bn}.running_mean"][:, None, None]
        x = centred / torch.sqrt(t[f"{bn}.running_var"] + BATCH_NORM_EPS)[:, None, None]
        return (x * t[f"{bn}.weight"][:, None, None] + t[f"{bn}.bias"][:, None, None]).clamp(min=0)

    def chain(x, block, *names):
        for name in names:
            x = conv(x, f"{block}.{name}")
        return x

    def average(x):  # padding is not counted
        ones = F.avg_pool2d(torch.ones_like(x[:1, :1]), 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1) / ones

    def five(x, block):
        parts = (
            chain(x, block, "branch1x1"),
            chain(x, block, "branch5x5_1", "branch5x5_2"),
            chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            chain(average(x), block, "branch_pool"),
        )
        return torch.cat(parts, 1)

    def six(x, block):
        doubled = [f"branch7x7dbl_{i}" for i in range(1, 6)]
        parts = (
            chain(x, block, "branch1x1"),
            chain(x, block, "branch7x7_1", "branch7x7_2", "branch7x7_3"),
            chain(x, block, *doubled),
            chain(average(x), block, "branch_pool"),
        )
        return torch.cat(parts, 1)

    def seven(x, block, pool):
        three = chain(x, block, "branch3x3_1")
        doubled = chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        parts = (
            chain(x, block, "branch1x1"),
            chain(three, block, "branch3x3_2a"),
            chain(three, block, "branch3x3_2b"),
            chain(doubled, block, "branch3x3dbl_3a"),
            chain(doubled, block, "branch3x3dbl_3b"),
            chain(pool(x), block, "branch_pool"),
        )
        return torch.cat(parts, 1)

    x = conv(x, "Conv2d_1a_3x3", stride=2, same=False)
    x = conv(x, "Conv2d_2a_3x3", same=False)
    x = F.max_pool2d(conv(x, "Conv2d_2b_3x3"), 3, 2)
    x = conv(x, "Conv2d_3b_1x1")
    x = F.max_pool2d(conv(x, "Conv2d_4a_3x3", same=False), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = five(x, block)
    small = chain(x, "Mixed_6a", "branch3x3dbl_1", "branch3x3dbl_2")
    parts = (
        conv(x, "Mixed_6a.branch3x3", stride=2, same=False),
        conv(small, "Mixed_6a.branch3x3dbl_3", stride=2, same=False),
        F.max_pool2d(x, 3, 2),
    )
    x = torch.cat(parts, 1)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = six(x, block)
    three = chain(x, "Mixed_7a", "branch3x3_1")
    seven_by_three = chain(x, "Mixed_7a", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
    parts = (
        conv(three, "Mixed_7a.branch3x3_2", stride=2, same=False),
        conv(seven_by_three, "Mixed_7a.branch7x7x3_4", stride=2, same=False),
        F.max_pool2d(x, 3, 2),
    )
    x = torch.cat(parts, 1)
    x = seven(x, "Mixed_7b", average)
    # the published network takes the maximum here and the average one block earlier
    x = seven(x, "Mixed_7c", lambda x: F.max_pool2d(x, 3, 1, 1))
    return x.mean(dim=(2, 3))
