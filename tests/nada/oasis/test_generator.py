"""The OASIS generator: SPADE's formula, spectral norm, the whole forward, names, sizes, label maps."""

import inspect

import pytest
import torch

from nada.images.label_maps import one_hot
from nada.oasis.generator import (
    SMALL,
    OasisGenerator,
    Spade,
    SpectralConv,
    coco_stuff_labels,
)
from nada.run.errors import UserError
from tests.nada.oasis import public_code


def small(classes=5, **changes):
    torch.manual_seed(1)
    return OasisGenerator(classes=classes, **{**SMALL, **changes}).eval()


def labels(generator, count=2):
    torch.manual_seed(2)
    coarse = torch.randint(generator.classes, (count, generator.size[0] // 4, generator.size[1] // 4))
    fine = coarse.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    fine[:, 5:9, 3:10] = 0  # borders that lie on no grid
    return one_hot(fine, generator.classes)


# --- layers


@pytest.mark.parametrize("training", [True, False])
def test_spade_scales_and_shifts_the_normalised_features_by_its_formula(training):
    torch.manual_seed(0)
    layer = Spade(channels=3, conditions=4, hidden=5, kernel=3).double().train(training)
    layer.first_norm.running_mean.normal_()
    layer.first_norm.running_var.uniform_(0.5, 2)
    x, m = torch.randn(2, 3, 6, 5).double(), torch.randn(2, 4, 6, 5).double()
    mean, variance = layer.first_norm.running_mean.clone(), layer.first_norm.running_var.clone()
    if training:
        flat = x.transpose(0, 1).reshape(3, -1)
        mean, variance = flat.mean(dim=1), flat.var(dim=1, unbiased=False)
    shared = public_code.convolve(m, layer.mlp_shared[0].weight, layer.mlp_shared[0].bias).clamp_min(0)
    gamma = public_code.convolve(shared, layer.mlp_gamma.weight, layer.mlp_gamma.bias)
    beta = public_code.convolve(shared, layer.mlp_beta.weight, layer.mlp_beta.bias)
    normalised = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(layer(x, m), normalised * (1 + gamma) + beta, rtol=1e-10, atol=1e-10)


def test_spectral_norm_agrees_with_torch_in_training_and_evaluation_mode():
    torch.manual_seed(0)
    theirs = public_code.spectral(torch.nn.Conv2d(3, 4, 3, padding=1)).double()
    ours = SpectralConv(3, 4, 3).double()
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, 5, 5).double()
    for mode in (True, True, False):
        ours.train(mode), theirs.train(mode)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-10)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(c(x).square().sum(), c.weight_orig)[0] for c in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_power_iterations_find_the_largest_singular_value():
    torch.manual_seed(0)
    conv = SpectralConv(3, 6, 3).double().train()
    for _ in range(200):
        weight = conv.weight()
    largest = torch.linalg.svdvals(weight.detach().flatten(1))[0]
    assert largest.item() == pytest.approx(1, abs=1e-6)


# --- the whole generator


@pytest.mark.parametrize(
    "about",
    [
        {"resolution": 64, "width": 1, "multipliers": public_code.MULTIPLIERS, "hidden": 6, "z_dim": 3},
        {"resolution": 16, "width": 2, "multipliers": (4, 2, 1), "hidden": 5, "z_dim": 4},
        {"resolution": 32, "width": 2, "multipliers": (4, 2, 1), "hidden": 5, "z_dim": 4, "aspect_ratio": 2.0},
    ],
)
def test_the_generator_agrees_with_a_forward_written_apart(about):
    layout = {k: v for k, v in about.items() if k not in ("resolution", "aspect_ratio")}
    state = public_code.modules(classes=5, **layout).state_dict()
    generator = OasisGenerator(classes=5, **about).double().eval()
    generator.load_state_dict(state)
    maps, z = labels(generator).double(), torch.randn(2, about["z_dim"]).double()
    with torch.no_grad():
        images = generator(maps, z)
    assert images.shape == (2, 3, *generator.size)
    torch.testing.assert_close(images, public_code.Literal(state)(maps, z), rtol=1e-9, atol=1e-9)
    assert images.std() > 0.01 and images.abs().max() < 0.999  # no constant agrees by chance


def test_tensor_names_order_and_shapes_are_those_of_the_public_code():
    theirs = public_code.modules(classes=183, z_dim=64, width=2).state_dict()
    ours = OasisGenerator(width=2).state_dict()
    assert list(ours) == list(theirs)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert ours["fc.weight"].shape == (32, 247, 3, 3)
    assert "body.3.conv_s.bias" not in ours and "body.1.conv_s.weight_orig" not in ours


def test_the_default_is_the_published_model_of_coco_stuff():
    defaults = {name: p.default for name, p in inspect.signature(OasisGenerator).parameters.items()}
    assert (defaults["classes"], defaults["z_dim"], defaults["width"]) == (183, 64, 64)
    generator = OasisGenerator(width=1)
    widths = [block.conv_1.weight_orig.shape[0] for block in generator.body]
    assert widths == [16, 16, 8, 4, 2, 1]
    assert (generator.start, generator.size) == ((8, 8), (256, 256))
    assert generator.body[0].norm_0.mlp_shared[0].weight.shape == (128, 247, 3, 3)


def test_noise_that_varies_over_the_image_changes_only_where_it_differs():
    generator = small()
    maps, z = labels(generator, 1), generator.draw_noise(1)
    spread = z[:, :, None, None].repeat(1, 1, 32, 32)
    with torch.no_grad():
        images = generator(maps, z)
        assert torch.equal(images, generator(maps, spread))
        spread[:, :, :, 31:] += 1  # one column: the receptive field does not span the whole image
        changed = (generator(maps, spread) - images).abs().amax(dim=(0, 1, 2))
    assert changed[-1] > 0 and changed[0] == 0


def test_noise_of_a_stream_is_reproducible_and_moves_the_image():
    generator = small()
    one, two = (generator.draw_noise(1, torch.Generator().manual_seed(s)) for s in (3, 4))
    assert torch.equal(one, generator.draw_noise(1, torch.Generator().manual_seed(3)))
    maps = labels(generator, 1)
    with torch.no_grad():
        assert (generator(maps, one) - generator(maps, two)).abs().max() > 1e-3


# --- mistakes


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"resolution": 36}, "multiple of 8"),
        ({"resolution": 4}, "multiple of 8"),
        ({"aspect_ratio": 100.0}, "aspect_ratio: 100.0"),
    ],
)
def test_a_size_that_the_blocks_do_not_give_is_refused(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        OasisGenerator(classes=3, **{**SMALL, "multipliers": (4, 4, 4, 2, 1), **arguments})


def test_label_maps_and_noise_of_another_shape_are_refused():
    generator = small()
    maps, z = labels(generator), generator.draw_noise(2)
    with pytest.raises(UserError, match=r"label maps: shape \[2, 4, 32, 32\].*\[N, 5, 32, 32\]"):
        generator(maps[:, :4], z)
    with pytest.raises(UserError, match=r"label maps: shape \[2, 5, 16, 16\]"):
        generator(maps[:, :, :16, :16], z)
    with pytest.raises(UserError, match=r"noise: shape \[1, 8\].*\[2, 8\]"):
        generator(maps, z[:1])


def test_pixels_of_coco_stuff_are_shifted_by_one_and_255_is_unknown():
    pixels = torch.tensor([[[0, 181, 255]]], dtype=torch.uint8)
    assert coco_stuff_labels(pixels).tolist() == [[[1, 182, 0]]]
    with pytest.raises(UserError, match="has the value 182"):
        coco_stuff_labels(torch.tensor([[[182]]], dtype=torch.uint8))
