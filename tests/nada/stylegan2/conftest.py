"""Literal references for StyleGAN2: SciPy filters and grouped convolutions beside the rehearsal's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d, correlate2d

from nada.stylegan2.readers import nvlabs
from workflow.worlds.rehearsal import oracles
from workflow.worlds.rehearsal.oracles import (
    FIR,
    minibatch_std,
    per_sample_weight,
    upsample,
    zero_insert,
    zero_insert_up_conv,
)


def _sum_over_inputs(x, weight, function):
    """out[n,o] = sum_i function(x[n,i], weight[o,i]), in NumPy."""
    x, weight = x.detach().numpy(), weight.detach().numpy()
    rows = [[sum(map(function, sample, kernels)) for kernels in weight] for sample in x]
    return torch.from_numpy(np.array(rows))


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


def folded_up_conv(x, weight):
    """The same up-convolution with the filter folded into a 6x6 transposed kernel."""
    c_out, c_in = weight.shape[:2]
    fir = torch.from_numpy(4 * FIR).to(x)[None, None]
    kernel = F.conv2d(weight.reshape(c_out * c_in, 1, 3, 3), fir, padding=3)
    kernel = kernel.reshape(c_out, c_in, 6, 6).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=2)


def generator(state, w_plus):
    """Images of W+ codes with constant noise, from a state dict of ours."""
    return oracles.generator({nvlabs.generator_name(k): v for k, v in state.items()}, w_plus)


def discriminator(state, images, group):
    """Logits of images, from a state dict of ours."""
    side = images.shape[2]
    theirs = {nvlabs.discriminator_name(k, side): v for k, v in state.items()}
    return oracles.discriminator(theirs, images, group)


@pytest.fixture(scope="session")
def reference():
    """The functions of this file, and those that the rehearsal checks full-size networks with."""
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


@pytest.fixture
def canary(tmp_path):
    """A path that every payload would make; asserted absent at the end of each test."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()
