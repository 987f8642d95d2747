"""Half precision, and what stays out of it; TF32 and repeatable algorithms as hyperparameters."""

import copy
import os

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nada.codes import draw_codes, render_pair
from nada.losses import directional_loss
from nada.run import precision
from nada.run.precision import full_precision, set_numerics, set_precision
from nada.stylegan2 import ops
from nada.stylegan2.adversarial import AdversarialTrainer
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.training import NadaHyperparameters

HALF = [torch.bfloat16, torch.float16]
#: What one rounding may change, relative to the largest number: 8 and 11 bits.
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
#: The least cosine between a gradient in half precision and the same in full.
COSINE = 0.99
CPU, CARD = torch.device("cpu"), torch.device("cuda")


def network(resolution=64, seed=0):
    torch.manual_seed(seed)
    generator = Generator(resolution, 16, 16, channel_base=1024, channel_max=32, mapping_layers=2)
    for conv in generator.synthesis.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.1)
        torch.nn.init.normal_(conv.bias, std=0.2)
    return generator


def codes_of(generator, count=2):
    torch.manual_seed(1)
    with torch.no_grad():
        return generator.broadcast(generator.mapping(torch.randn(count, 16))).contiguous()


def in_half(generator, dtype):
    twin = copy.deepcopy(generator)
    twin.synthesis.half = dtype
    return twin


def images_of(generator, codes):
    return generator.synthesis(codes, "random", torch.Generator().manual_seed(2))


def far(found, expected):
    """The largest difference, relative to the largest number."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


# Half precision -----------------------------------------------------------------------------------


def test_mixed_precision_is_bfloat16_in_the_generator_and_can_be_taken_back():
    generator = network(16)
    assert generator.synthesis.half is None
    set_precision(generator, "mixed")
    assert generator.synthesis.half == torch.bfloat16
    set_precision(generator, "fp32")
    assert generator.synthesis.half is None


@pytest.mark.parametrize(("resolution", "first"), [(16, 8), (64, 8), (128, 16)])
def test_the_four_highest_resolutions_are_computed_in_half_and_never_that_of_4(resolution, first):
    generator = Generator(resolution, 8, 8, channel_base=128, channel_max=4, mapping_layers=1)
    set_precision(generator, "mixed")
    seen = {}
    for conv in generator.synthesis.convs:
        conv.register_forward_hook(lambda _, __, x: seen.__setitem__(x.shape[-1], x.dtype))
    with torch.no_grad():
        image = generator(torch.randn(1, 8))
    assert image.dtype == torch.float32
    assert {side for side, dtype in seen.items() if dtype == torch.bfloat16} == {
        side for side in seen if side >= first
    }


@pytest.mark.parametrize("dtype", HALF)
def test_an_image_in_half_precision_is_the_same_but_for_rounding(dtype):
    generator = network()
    codes = codes_of(generator)
    with torch.no_grad():
        expected = images_of(generator, codes)
        found = images_of(in_half(generator, dtype), codes)
    assert found.dtype == torch.float32 and found.is_contiguous()
    error = far(found, expected)
    assert 0 < error < 4 * ROUNDING[dtype]  # twelve roundings deep


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("up", "demodulate"), [(False, True), (True, True), (False, False)])
def test_weights_and_styles_of_any_size_fit_half_precision(scale, up, demodulate):
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 24, 8, 8), 3 if demodulate else 1
    weight, style = scale * torch.randn(12, 24, kernel, kernel), scale * torch.randn(2, 24)
    expected = ops.modulated_conv2d(x.half().float(), weight, style, demodulate, up)
    found = ops.modulated_conv2d(x.half(), weight, style, demodulate, up)
    assert found.dtype == (torch.float16 if demodulate else torch.float32)
    assert far(found.float(), expected) < 4 * ROUNDING[torch.float16]


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e4])
def test_the_gradient_at_weights_and_codes_keeps_its_direction_and_length(size):
    """Of a loss of any size, so that no gradient vanishes or overflows, at 1024 px neither."""
    generator = network()
    codes = codes_of(generator)
    torch.manual_seed(3)
    target = torch.randn(2, 3, 64, 64)

    def gradients(network):
        leaf = codes.clone().requires_grad_()
        weights = [conv.weight for conv in network.synthesis.convs]
        loss = size * (images_of(network, leaf) * target).mean()
        return torch.autograd.grad(loss, [leaf, *weights])

    twin = in_half(generator, torch.bfloat16)
    for mine, other in zip(gradients(twin), gradients(generator), strict=True):
        assert mine.dtype == torch.float32
        assert F.cosine_similarity(mine.flatten(), other.flatten(), dim=0, eps=1e-30) > COSINE
        assert (mine.norm() / other.norm()).item() == pytest.approx(1, abs=0.1)


def test_features_far_out_are_clamped_in_half_precision_alone():
    generator = network(16)
    torch.nn.init.constant_(generator.synthesis.convs[-1].bias, 1e6)
    largest = []
    generator.synthesis.convs[-1].register_forward_hook(lambda _, __, x: largest.append(x.max()))
    codes = codes_of(generator)
    with torch.no_grad():
        for dtype in (None, torch.float16):
            generator.synthesis.half = dtype
            assert generator.synthesis(codes, "none").isfinite().all()
    assert largest[0] > 1e6 and largest[1] == ops.HALF_CLAMP


# What stays float32 -------------------------------------------------------------------------------


def test_one_noise_still_gives_equal_images_before_the_first_step(generator):
    trained = copy.deepcopy(generator)
    for network_ in (generator, trained):
        set_precision(network_, "mixed")
    hparams = NadaHyperparameters(batch=3, noise="shared")
    images = render_pair(generator, trained, draw_codes(generator, hparams), hparams)
    assert torch.equal(images[0], images[1].detach())


def test_the_directional_loss_and_its_gradient_stay_close(generator, clip):
    """Through a CLIP in float32; the two generators are as far apart as after some steps."""
    trained = copy.deepcopy(generator)
    torch.manual_seed(6)
    with torch.no_grad():
        for conv in trained.synthesis.convs:
            conv.weight += 0.1 * torch.randn_like(conv.weight)
    hparams = NadaHyperparameters(batch=8)
    codes = draw_codes(generator, hparams)
    direction = F.normalize(torch.randn(16), dim=-1)
    results = []
    for half in (None, torch.bfloat16):
        generator.synthesis.half = trained.synthesis.half = half
        frozen_images, images = render_pair(generator, trained, codes, hparams, [4, 4])
        embeddings = clip.encode_images(images), clip.encode_images(frozen_images)
        assert embeddings[0].dtype == torch.float32
        loss = directional_loss(*embeddings, direction, 0.05)
        weights = [conv.weight for conv in trained.synthesis.convs]
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
        results.append((loss.item(), gradient))
    (expected, reference), (found, gradient) = results
    assert found == pytest.approx(expected, abs=0.01)
    assert F.cosine_similarity(gradient, reference, dim=0) > COSINE


def test_d_and_the_derivatives_of_derivatives_see_full_precision():
    generator = network(16)
    D = Discriminator(16, channel_base=256, channel_max=16)
    trainer = AdversarialTrainer(generator, D, None)
    set_precision(generator, "mixed")
    sides = []
    generator.synthesis.convs[-1].register_forward_hook(lambda _, __, x: sides.append(x.dtype))
    report = trainer.step(torch.rand(4, 3, 16, 16) * 2 - 1)
    assert {"r1", "path_length"} <= report.keys()
    half = torch.bfloat16
    assert sides == [half, half, torch.float32]  # for D, for G, for the path length
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in D.parameters())
    assert all(p.dtype == torch.float32 for p in generator.parameters())


def test_full_precision_lasts_for_a_block_even_when_that_fails(generator):
    set_precision(generator, "mixed")
    with pytest.raises(ValueError), full_precision(generator):
        assert generator.synthesis.half is None
        raise ValueError
    assert generator.synthesis.half == torch.bfloat16


# TF32 and repeatable algorithms -------------------------------------------------------------------


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_tf32_and_repeatable_algorithms_follow_the_hyperparameters(flags, tf32, deterministic):
    set_numerics(CARD, tf32, deterministic)
    assert flags() == {
        "matmul": tf32,
        "cudnn": tf32,
        "benchmark": not deterministic,
        "fixed": deterministic,
        "algorithms": deterministic,
        "attention": [not deterministic] * 3,
    }
    assert torch.backends.cuda.math_sdp_enabled()
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    if deterministic:  # what has no repeatable form warns, and training goes on
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == precision.WORKSPACE


def test_a_run_is_full_float32_and_repeatable_unless_it_says_otherwise(flags):
    set_numerics(CARD)
    assert not flags()["matmul"] and not flags()["cudnn"] and flags()["algorithms"]


def test_a_cpu_s_kernels_are_left_alone(flags):
    before = flags()
    set_numerics(CPU, tf32=True, deterministic=not before["fixed"])
    assert flags() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


# On a GPU -----------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_mixed_precision_gives_the_image_of_full_precision():
    generator = network().to(CARD)
    codes = codes_of(network()).to(CARD)
    images = []
    for kind in ("fp32", "mixed"):
        set_precision(generator, kind)
        with torch.no_grad():
            images.append(generator.synthesis(codes, "const"))
    assert_close(
        images[1],
        images[0],
        rtol=0,
        atol=4 * ROUNDING[torch.bfloat16] * images[0].abs().max().item(),
    )
