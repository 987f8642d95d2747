"""Equalised layers, FIR resampling and modulated convolution against SciPy and the grouped form."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nada.run.errors import UserError
from nada.stylegan2 import ops

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 on both sides


def test_image_upsampling_equals_zero_insertion_and_fir(rng, reference):
    x = rng(2, 3, 5, 4)
    assert_close(ops.upsample2d(x), reference.upsample(x), **EXACT)


def test_image_upsampling_keeps_a_constant_away_from_the_border():
    up = ops.upsample2d(torch.full((1, 1, 8, 8), 0.7))
    assert_close(up[..., 1:-1, 1:-1], torch.full((1, 1, 14, 14), 0.7))


def test_up_convolution_equals_zero_insertion_and_fir(rng, reference):
    x, weight = rng(2, 3, 5, 4), rng(4, 3, 3, 3)
    assert_close(ops.up_conv2d(x, weight), reference.up_conv(x, weight), **EXACT)
    assert_close(reference.zero_insert_up_conv(x, weight), reference.up_conv(x, weight), **EXACT)
    assert_close(reference.folded_up_conv(x, weight), reference.up_conv(x, weight), **EXACT)


def test_up_convolution_takes_the_kernel_as_stored_not_flipped(rng, reference):
    x, weight = rng(1, 2, 4, 4), rng(2, 2, 3, 3)
    flipped = reference.up_conv(x, weight.flip(2, 3))
    assert (ops.up_conv2d(x, weight) - flipped).abs().max() > 0.1


@pytest.mark.parametrize("kernel", [1, 3])
def test_down_convolution_equals_fir_then_stride(rng, reference, kernel):
    x, weight = rng(2, 3, 8, 6), rng(4, 3, kernel, kernel)
    down = ops.down_conv2d(x, weight)
    assert down.shape == (2, 4, 4, 3)
    assert_close(down, reference.down_conv(x, weight), **EXACT)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_equals_its_grouped_form(rng, reference, up, demodulate):
    x, weight, style = rng(3, 4, 5, 6), rng(2, 4, 3, 3), rng(3, 4) + 1
    shared = ops.modulated_conv2d(x, weight, style, demodulate, up)
    grouped = reference.grouped_modulated_conv(x, weight, style, demodulate, up)
    assert_close(shared, grouped, **EXACT)


@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_multiplies_its_result_by_the_gain(rng, demodulate):
    x, weight, style = rng(2, 3, 4, 4), rng(2, 3, 1, 1), rng(2, 3)
    once = ops.modulated_conv2d(x, weight, style, demodulate)
    assert_close(ops.modulated_conv2d(x, weight, style, demodulate, gain=1.7), 1.7 * once, **EXACT)


def test_demodulated_convolution_of_white_noise_has_unit_variance(rng):
    x, weight, style = rng(4, 64, 32, 32), rng(8, 64, 3, 3), 5 * rng(4, 64)
    out = ops.modulated_conv2d(x, weight, style / style.abs())  # signs only: x stays white
    assert out[..., 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.02)


def test_demodulation_cancels_the_scale_of_the_style(rng):
    x, weight, style = rng(2, 3, 4, 4), rng(2, 3, 3, 3), rng(2, 3)
    once, scaled = (ops.modulated_conv2d(x, weight, s) for s in (style, 10 * style))
    assert_close(scaled, once, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_twice_differentiable(rng, up):
    inputs = [rng(2, 2, 3, 3), rng(2, 2, 3, 3), rng(2, 2)]
    inputs = [tensor.requires_grad_() for tensor in inputs]

    def convolve(*tensors):
        return ops.modulated_conv2d(*tensors, True, up)

    assert torch.autograd.gradcheck(convolve, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, inputs, fast_mode=True)


def test_down_convolution_and_upsampling_are_twice_differentiable(rng):
    inputs = (rng(1, 2, 4, 4).requires_grad_(), rng(2, 2, 3, 3).requires_grad_())

    def resample(x, weight):
        return ops.down_conv2d(ops.upsample2d(x), weight)

    assert torch.autograd.gradgradcheck(resample, inputs, fast_mode=True)


def test_lrelu_is_slope_one_fifth_times_root_two():
    assert_close(ops.lrelu(torch.tensor([-1.0, 0, 2])), torch.tensor([-0.2, 0, 2]) * math.sqrt(2))


@pytest.mark.parametrize("lr_mul", [1.0, 0.01])
def test_equalised_linear_stores_over_lr_mul_and_computes_at_unit_scale(lr_mul):
    torch.manual_seed(0)
    layer = ops.EqualizedLinear(256, 512, lr_mul=lr_mul, bias_init=1.0)
    assert layer.weight.std().item() == pytest.approx(1 / lr_mul, rel=0.02)
    x = torch.randn(64, 256)
    runtime = (layer.weight * lr_mul / 16, layer.bias * lr_mul)  # sqrt(256) = 16
    assert_close(layer(x), F.linear(x, *runtime), rtol=1e-4, atol=1e-4)
    assert_close(runtime[1], torch.ones(512))
    assert layer(x).std().item() == pytest.approx(1, abs=0.02)


def test_an_adam_step_moves_the_runtime_weight_by_lr_mul_over_root_fan_in():
    for fan_in, lr_mul in ((4, 1.0), (64, 1.0), (64, 0.01)):
        layer = ops.EqualizedLinear(fan_in, 3, lr_mul=lr_mul).double()
        before = layer(torch.eye(fan_in).double())
        optimizer = torch.optim.Adam([layer.weight], lr=0.5)
        layer(torch.ones(1, fan_in).double()).sum().backward()
        optimizer.step()
        moved = (layer(torch.eye(fan_in).double()) - before).abs()
        assert_close(
            moved, torch.full_like(moved, 0.5 * lr_mul / math.sqrt(fan_in)), rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("down", [False, True])
def test_equalised_convolution_is_lrelu_of_weight_over_root_fan_in_plus_bias(rng, reference, down):
    layer = ops.EqualizedConv2d(3, 4, 3, down=down).double()
    torch.nn.init.normal_(layer.bias)
    x, weight = rng(2, 3, 4, 4), layer.weight / math.sqrt(27)
    plain = reference.down_conv(x, weight) if down else F.conv2d(x, weight, padding=1)
    plain = plain + layer.bias[:, None, None]
    assert_close(layer(x), ops.lrelu(plain), **EXACT)
    assert_close(layer(x, gain=0.5), 0.5 * ops.lrelu(plain), **EXACT)
    layer.activate = False
    assert_close(layer(x), plain, **EXACT)


@pytest.mark.parametrize("resolution", [8, 48, 0, -64])
def test_a_resolution_that_is_no_power_of_two_from_16_is_refused_by_value(resolution):
    with pytest.raises(UserError, match=f"resolution: {resolution} given.*power of two from 16"):
        ops.check_resolution(resolution)


def test_channels_are_base_over_side_up_to_the_maximum():
    config_f = {4: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    config_e = {4: 512, 32: 512, 64: 256, 128: 128, 256: 64}
    assert {r: ops.channels_at(r, 32768, 512) for r in config_f} == config_f
    assert {r: ops.channels_at(r, 16384, 512) for r in config_e} == config_e
