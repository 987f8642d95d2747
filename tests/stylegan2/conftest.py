"""Literal references for StyleGAN2: zero insertion, SciPy filters, grouped convolutions."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d, correlate2d

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def zero_insert(channel: np.ndarray) -> np.ndarray:
    """[H,W] -> [2H,2W] with a zero after every sample."""
    out = np.zeros((2 * channel.shape[0], 2 * channel.shape[1]))
    out[::2, ::2] = channel
    return out


def _per_channel(x, function):
    """Apply a function of one [H,W] array to every sample and channel of a tensor."""
    rows = [[function(channel) for channel in sample] for sample in x.detach().numpy()]
    return torch.from_numpy(np.array(rows))


def _sum_over_inputs(x, weight, function):
    """out[n,o] = sum_i function(x[n,i], weight[o,i]), in NumPy."""
    x, weight = x.detach().numpy(), weight.detach().numpy()
    rows = [[sum(map(function, sample, kernels)) for kernels in weight] for sample in x]
    return torch.from_numpy(np.array(rows))


def upsample(x):
    """Insert zeros, pad (2,1), filter with 4 * FIR."""
    return _per_channel(
        x, lambda c: convolve2d(np.pad(zero_insert(c), ((2, 1), (2, 1))), 4 * FIR, mode="valid")
    )


def up_conv(x, weight):
    """Transposed convolution (full convolution of the zero-inserted map), pad 1, 4 * FIR."""

    def one(channel, kernel):
        transposed = convolve2d(zero_insert(channel)[:-1, :-1], kernel, mode="full")
        return convolve2d(np.pad(transposed, 1), 4 * FIR, mode="valid")

    return _sum_over_inputs(x, weight, one)


def down_conv(x, weight):
    """FIR with padding 2 (3x3 kernel) or 1 (1x1 kernel), then a convolution of stride 2."""
    pad = (weight.shape[-1] + 1) // 2

    def one(channel, kernel):
        filtered = convolve2d(np.pad(channel, pad), FIR, mode="valid")
        return correlate2d(filtered, kernel, mode="valid")[::2, ::2]

    return _sum_over_inputs(x, weight, one)


def per_sample_weight(weight, style, demodulate):
    """W'_noik = c * s_ni * W_oik, demodulated: [N,out,in,k,k]."""
    c = 1 / np.sqrt(weight.shape[1] * weight.shape[2] * weight.shape[3])
    modulated = c * style[:, None, :, None, None] * weight[None]
    if demodulate:
        norm = (modulated**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8
        modulated = modulated / norm.sqrt()
    return modulated


def grouped_modulated_conv(x, weight, style, demodulate=True, up=False):
    """The grouped form: as many groups as samples, each with its own weights."""
    n, c_in, height, width = x.shape
    kernels = per_sample_weight(weight, style, demodulate)
    c_out, k = weight.shape[0], weight.shape[-1]
    x = x.reshape(1, n * c_in, height, width)
    if not up:
        x = F.conv2d(x, kernels.reshape(n * c_out, c_in, k, k), padding=k // 2, groups=n)
        return x.reshape(n, c_out, height, width)
    kernels = kernels.transpose(1, 2).reshape(n * c_in, c_out, k, k)
    x = F.conv_transpose2d(x, kernels, stride=2, groups=n)
    fir = torch.from_numpy(4 * FIR).to(x).expand(n * c_out, 1, 4, 4)
    x = F.conv2d(x, fir, padding=1, groups=n * c_out)
    return x.reshape(n, c_out, 2 * height, 2 * width)


def zero_insert_up_conv(x, weight):
    """The up-convolution in torch as it is defined: zeros stored, then two dense filters."""
    n, c, height, width = x.shape
    inserted = x.new_zeros(n, c, 2 * height - 1, 2 * width - 1)
    inserted[:, :, ::2, ::2] = x
    x = F.conv2d(inserted, weight.flip(2, 3), padding=2)
    fir = torch.from_numpy(4 * FIR).to(x).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, fir, padding=1, groups=x.shape[1])


def folded_up_conv(x, weight):
    """The same up-convolution with the filter folded into a 6x6 transposed kernel."""
    c_out, c_in = weight.shape[:2]
    fir = torch.from_numpy(4 * FIR).to(x)[None, None]
    kernel = F.conv2d(weight.reshape(c_out * c_in, 1, 3, 3), fir, padding=3)
    kernel = kernel.reshape(c_out, c_in, 6, 6).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=2)


def minibatch_std(x, group):
    """Sample by sample: group m holds the samples m, m+M, m+2M, ..."""
    x = x.detach().numpy()
    m_groups = len(x) // group
    channel = np.empty((len(x), 1, *x.shape[2:]))
    for m in range(m_groups):
        members = list(range(m, len(x), m_groups))
        assert len(members) == group
        deviation = np.sqrt(np.mean((x[members] - x[members].mean(axis=0)) ** 2, axis=0) + 1e-8)
        channel[members] = deviation.mean()
    return torch.from_numpy(np.concatenate([x, channel], axis=1))


def _lrelu(x):
    return torch.where(x >= 0, x, 0.2 * x) * np.sqrt(2)


def _dense(x, state, name):
    weight = state[f"{name}.weight"]
    return x @ weight.T / np.sqrt(weight.shape[1]) + state[f"{name}.bias"]


def generator(state, w_plus):
    """Images of W+ codes with constant noise, from a state dict, block by block."""

    def styled(x, name, slot, up):
        style = _dense(w_plus[:, slot], state, f"synthesis.{name}.affine")
        x = grouped_modulated_conv(x, state[f"synthesis.{name}.weight"], style, up=up)
        x = x + state[f"synthesis.{name}.noise_strength"] * state[f"synthesis.{name}.noise_const"]
        return _lrelu(x + state[f"synthesis.{name}.bias"][None, :, None, None])

    def rgb(x, name, slot):
        style = _dense(w_plus[:, slot], state, f"synthesis.{name}.affine")
        x = grouped_modulated_conv(x, state[f"synthesis.{name}.weight"], style, demodulate=False)
        return x + state[f"synthesis.{name}.bias"][None, :, None, None]

    x = state["synthesis.const"].repeat(len(w_plus), 1, 1, 1)
    x = styled(x, "convs.0", 0, up=False)
    image = rgb(x, "to_rgbs.0", 1)
    for j in range(w_plus.shape[1] // 2 - 1):  # block of side 2^(j+3)
        x = styled(x, f"convs.{2 * j + 1}", 2 * j + 1, up=True)
        x = styled(x, f"convs.{2 * j + 2}", 2 * j + 2, up=False)
        image = upsample(image) + rgb(x, f"to_rgbs.{j + 1}", 2 * j + 3)
    return image


def discriminator(state, images, group):
    """Logits of images from a state dict."""

    def conv(x, name, down=False):
        weight = state[f"{name}.weight"]
        weight = weight / np.sqrt(weight.shape[1] * weight.shape[2] ** 2)
        x = down_conv(x, weight) if down else F.conv2d(x, weight, padding=weight.shape[2] // 2)
        bias = state.get(f"{name}.bias")
        return x if bias is None else x + bias[None, :, None, None]

    x = _lrelu(conv(images, "from_rgb"))
    block = 0
    while f"blocks.{block}.skip.weight" in state:
        main = _lrelu(conv(x, f"blocks.{block}.conv0"))
        main = _lrelu(conv(main, f"blocks.{block}.conv1", down=True))
        x = (main + conv(x, f"blocks.{block}.skip", down=True)) / np.sqrt(2)
        block += 1
    assert x.shape[2:] == (4, 4)
    x = _lrelu(conv(minibatch_std(x, group), "conv"))
    return _dense(_lrelu(_dense(x.reshape(len(x), -1), state, "fc")), state, "out")


@pytest.fixture(scope="session")
def reference():
    """The functions of this file that do not begin with an underscore."""
    return SimpleNamespace(
        upsample=upsample,
        up_conv=up_conv,
        down_conv=down_conv,
        grouped_modulated_conv=grouped_modulated_conv,
        zero_insert_up_conv=zero_insert_up_conv,
        folded_up_conv=folded_up_conv,
        minibatch_std=minibatch_std,
        generator=generator,
        discriminator=discriminator,
    )


@pytest.fixture
def rng():
    """A seeded float64 normal sampler; the global stream is seeded too."""
    torch.manual_seed(0)
    return lambda *size: torch.randn(*size, dtype=torch.float64)


def randomise(module):
    """Give every number a value of its own: zeros at the start would hide wiring faults."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.add_(0.3 * torch.randn_like(tensor))
    return module


@pytest.fixture(scope="session", name="randomise")
def randomise_fixture():
    return randomise
