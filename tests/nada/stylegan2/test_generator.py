"""The generator: W+ slots, mapping, truncation, noise and size (Karras et al. 2020, §2-4)."""

import copy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nada.run.errors import UserError
from nada.stylegan2.generator import Generator

NARROW = {"z_dim": 8, "style_dim": 8, "channel_max": 8, "mapping_layers": 2}


def narrow(resolution=16, channel_base=128, **kwargs):
    torch.manual_seed(0)
    return Generator(resolution, channel_base=channel_base, **(NARROW | kwargs))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("resolution", "channel_base", "synthesis"),
    [
        (1024, 32768, 28_268_812),
        (512, 32768, 28_175_335),
        (256, 32768, 27_933_090),
        (256, 16384, 22_666_210),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(resolution, channel_base, synthesis):
    with torch.device("meta"):
        generator = Generator(resolution, channel_base=channel_base)
    assert count(generator.synthesis) == synthesis
    assert count(generator.mapping) == 2_101_248
    assert count(generator) == synthesis + 2_101_248


@pytest.mark.parametrize(
    ("resolution", "slots"), [(16, 6), (32, 8), (64, 10), (256, 14), (512, 16), (1024, 18)]
)
def test_number_of_slots_is_two_log2_resolution_minus_two(resolution, slots):
    with torch.device("meta"):
        assert Generator(resolution).num_ws == slots


@pytest.mark.parametrize(
    ("resolution", "channel_base"), [(16, 128), (64, 128), (256, 512), (1024, 1024)]
)
def test_conv_i_reads_slot_i_and_rgb_k_reads_slot_2k_plus_1(resolution, channel_base):
    synthesis = narrow(resolution, channel_base).synthesis
    read = {}
    for name, layer in [*synthesis.convs.named_children(), *synthesis.to_rgbs.named_children()]:
        kind = "conv" if layer in synthesis.convs else "rgb"
        layer.affine.register_forward_pre_hook(
            lambda _, args, key=(kind, int(name)): read.__setitem__(key, args[0])
        )
    codes = torch.arange(synthesis.num_ws, dtype=torch.float32)[None, :, None].expand(1, -1, 8)
    with torch.no_grad():
        image = synthesis(codes, noise_mode="none")
    assert image.shape == (1, 3, resolution, resolution)
    assert len(synthesis.convs) == synthesis.num_ws - 1
    slots = {key: code.unique().tolist() for key, code in read.items()}
    convs = {("conv", i): [i] for i in range(synthesis.num_ws - 1)}
    rgbs = {("rgb", k): [2 * k + 1] for k in range(synthesis.num_ws // 2)}
    assert slots == convs | rgbs


def test_the_last_slot_moves_colours_alone():
    generator = narrow()
    codes = torch.randn(1, generator.num_ws, 8)
    features = []
    generator.synthesis.convs[-1].register_forward_hook(lambda *args: features.append(args[2]))
    with torch.no_grad():
        before = generator.synthesis(codes, "none")
        codes[:, -1] += 1
        after = generator.synthesis(codes, "none")
    assert torch.equal(features[0], features[1])
    assert not torch.equal(before, after)


@pytest.mark.parametrize("resolution", [16, 64])
def test_synthesis_equals_the_literal_grouped_reference_in_float64(
    rng, reference, randomise, resolution
):
    generator = randomise(narrow(resolution).double())
    codes = rng(3, generator.num_ws, 8)
    with torch.no_grad():
        image = generator.synthesis(codes, "const")
        expected = reference.generator(generator.state_dict(), codes)
    assert image.is_contiguous()
    assert_close(image, expected, rtol=1e-9, atol=1e-9)


# Mapping network ----------------------------------------------------------------------------------


def test_mapping_is_normalised_z_through_equalised_layers(rng):
    generator = narrow(mapping_lr_mul=0.01).double()
    z = rng(4, 8)
    x = z.numpy() / np.sqrt((z.numpy() ** 2).mean(axis=1, keepdims=True) + 1e-8)
    for layer in generator.mapping.layers:
        torch.nn.init.normal_(layer.bias, std=30)
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        x = x @ (weight * 0.01 / np.sqrt(8)).T + bias * 0.01
        x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
    assert_close(generator.mapping(z), torch.from_numpy(x), rtol=1e-10, atol=1e-10)


def test_the_length_of_z_does_not_matter(rng):
    generator = narrow().double()
    z = rng(4, 8)
    assert_close(generator.mapping(100 * z), generator.mapping(z), rtol=1e-6, atol=1e-6)


def test_z_and_style_may_have_different_widths():
    assert narrow(z_dim=5, style_dim=12).mapping(torch.randn(3, 5)).shape == (3, 12)


def test_w_avg_moves_by_half_a_percent_of_the_batch_mean_in_training():
    mapping = narrow().train().mapping
    w = mapping(torch.randn(16, 8)).detach()
    assert_close(mapping.w_avg, 0.005 * w.mean(dim=0))
    w2 = mapping(torch.randn(16, 8)).detach()
    assert_close(mapping.w_avg, 0.995 * 0.005 * w.mean(dim=0) + 0.005 * w2.mean(dim=0))


def test_w_avg_stays_in_evaluation_and_for_the_second_mixing_code():
    generator = narrow().train()
    generator.mapping(torch.randn(16, 8), skip_w_avg_update=True)
    assert torch.equal(generator.w_avg, torch.zeros(8))
    generator.eval().mapping(torch.randn(16, 8))
    assert torch.equal(generator.w_avg, torch.zeros(8))


# Truncation ---------------------------------------------------------------------------------------


@pytest.fixture
def truncating():
    generator = narrow().eval()
    generator.w_avg.normal_()
    return generator


def test_truncation_shrinks_codes_towards_w_avg(truncating):
    w = torch.randn(4, 8)
    assert torch.equal(truncating.truncate(w, 1), w)
    assert_close(truncating.truncate(w, 0), truncating.w_avg.expand(4, 8))
    shrunk = truncating.truncate(w, 0.7)
    assert_close(shrunk - truncating.w_avg, 0.7 * (w - truncating.w_avg))


def test_truncation_cutoff_leaves_the_slots_from_it_on(truncating):
    w_plus = torch.randn(2, truncating.num_ws, 8)
    cut = truncating.truncate(w_plus, 0.5, cutoff=2)
    assert torch.equal(cut[:, 2:], w_plus[:, 2:])
    assert torch.equal(cut[:, :2], truncating.truncate(w_plus, 0.5)[:, :2])


def test_truncation_cutoff_needs_w_plus_and_a_slot_of_the_network(truncating):
    with pytest.raises(UserError, match="cutoff: 2 given for codes of shape \\[4, 8\\]"):
        truncating.truncate(torch.randn(4, 8), 0.5, cutoff=2)
    with pytest.raises(UserError, match="cutoff: 7 given.*0..6"):
        truncating.truncate(torch.randn(4, 6, 8), 0.5, cutoff=7)


def test_calling_the_generator_is_mapping_truncation_broadcast_synthesis(truncating):
    z = torch.randn(2, 8)
    w = truncating.truncate(truncating.mapping(z), 0.6)
    expected = truncating.synthesis(w[:, None].repeat(1, truncating.num_ws, 1), "const")
    assert torch.equal(truncating(z, truncation_psi=0.6, noise_mode="const"), expected)


# Noise --------------------------------------------------------------------------------------------


def test_noise_has_no_effect_before_its_strength_is_trained():
    generator = narrow()
    assert all(
        conv.noise_strength.shape == () and conv.noise_strength == 0
        for conv in generator.synthesis.convs
    )
    codes = torch.randn(2, generator.num_ws, 8)
    images = [generator.synthesis(codes, mode) for mode in ("random", "const", "none")]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


@pytest.fixture
def noisy():
    generator = narrow()
    for conv in generator.synthesis.convs:
        torch.nn.init.constant_(conv.noise_strength, 0.5)
    return generator


def test_random_noise_is_fresh_per_call_and_constant_noise_is_not(noisy):
    codes = torch.randn(1, noisy.num_ws, 8)
    assert not torch.equal(noisy.synthesis(codes), noisy.synthesis(codes))
    assert torch.equal(noisy.synthesis(codes, "const"), noisy.synthesis(codes, "const"))
    assert not torch.equal(noisy.synthesis(codes, "const"), noisy.synthesis(codes, "none"))


def test_two_generators_share_noise_through_a_torch_generator(noisy):
    codes, twin = torch.randn(1, noisy.num_ws, 8), copy.deepcopy(noisy)
    streams = [torch.Generator().manual_seed(7) for _ in range(2)]
    images = [g.synthesis(codes, "random", s) for g, s in zip((noisy, twin), streams, strict=True)]
    assert torch.equal(*images)


def test_random_noise_differs_per_sample_and_constant_noise_is_shared(noisy):
    codes = torch.randn(1, noisy.num_ws, 8).expand(2, -1, -1)
    random, const = noisy.synthesis(codes), noisy.synthesis(codes, "const")
    assert not torch.equal(random[0], random[1])
    assert_close(const[0], const[1])


def test_noise_enters_before_bias_and_lrelu_as_strength_times_unit_normal():
    conv = narrow().synthesis.convs[4]  # 16x16, no upsampling
    torch.nn.init.constant_(conv.noise_strength, 3.0)
    torch.nn.init.constant_(conv.bias, 100.0)  # lrelu acts as a factor of sqrt(2)
    x, w = torch.randn(64, 8, 16, 16), torch.randn(64, 8)
    noise = (conv(x, w, "random") - conv(x, w, "none")) / np.sqrt(2)
    assert noise.std().item() == pytest.approx(3, rel=0.03)
    assert_close(
        noise[:, :1].expand_as(noise), noise, rtol=0, atol=1e-3
    )  # one map for all channels


def test_a_wrong_shape_or_noise_mode_is_one_clear_sentence():
    generator = narrow()
    with pytest.raises(UserError, match=r"w_plus: shape \[1, 5, 8\] given.*\[N, 6, 8\]"):
        generator.synthesis(torch.randn(1, 5, 8))
    with pytest.raises(UserError, match="noise_mode: 'fixed' given, must be one of random, const"):
        generator.synthesis(torch.randn(1, 6, 8), "fixed")
    with pytest.raises(UserError, match=r"z: shape \[1, 9\] given.*\[N, 8\]"):
        generator.mapping(torch.randn(1, 9))


def test_config_rebuilds_the_same_architecture():
    generator = narrow(32, mapping_lr_mul=0.5)
    twin = Generator(**generator.config)
    twin.load_state_dict(generator.state_dict())
    z = torch.randn(2, 8)
    assert torch.equal(twin(z, noise_mode="const"), generator(z, noise_mode="const"))
