"""The encoders have the published names and compute what a forward written apart does."""

import inspect

import pytest
import torch
from torchvision.models.resnet import BasicBlock

from nada.inversion.encoders import KINDS, BasicUnit, StyleEncoder, num_styles
from nada.inversion.inverter import Inverter, mix_styles
from nada.run.errors import UserError
from tests.nada.inversion import published_encoders as published

SIZES = {
    "style_dim": published.STYLE_DIM, "input_size": published.SIZE,
    "widths": published.WIDTHS, "depths": published.DEPTHS,
}  # fmt: skip
SLOTS = 8


def encoder_of(kind, channels=3, slots=SLOTS):
    """(our encoder, its tensors): random ones under the published names."""
    tensors = published.state(kind, slots, channels)
    encoder = StyleEncoder(kind, slots, channels, **SIZES).eval()
    encoder.load_state_dict(tensors, strict=True)
    return encoder, tensors


def images(count=2, channels=3, side=published.SIZE):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_codes_are_those_of_the_forward_written_apart(kind):
    encoder, tensors = encoder_of(kind)
    x = images()
    expected = published.forward(kind, tensors, x, SLOTS)
    assert expected.std() > 0.1  # the comparison is not of zeros
    torch.testing.assert_close(encoder(x).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].deltas][:2])
@pytest.mark.parametrize("deltas", [0, 2, 6])
@torch.no_grad()
def test_progressive_stages_add_the_first_deltas_and_repeat_slot_0(kind, deltas):
    encoder, tensors = encoder_of(kind)
    encoder.deltas = deltas
    codes = encoder(images())
    expected = published.forward(kind, tensors, images(), SLOTS, deltas)
    torch.testing.assert_close(codes.double(), expected, rtol=1e-4, atol=1e-4)
    for slot in range(deltas + 1, SLOTS):
        assert torch.equal(codes[:, slot], codes[:, 0])


@pytest.mark.parametrize(
    ("kind", "units"),
    [("GradualStyleEncoder", (3, 4, 14, 3)), ("ResNetGradualStyleEncoder", (3, 4, 6, 3)),
     ("BackboneEncoder", (3, 4, 14, 3))],
)  # fmt: skip
def test_the_published_depths_give_the_published_names_in_order_of_size(kind, units):
    narrow = {"style_dim": 2, "widths": (1, 2, 3, 4)}
    ours = StyleEncoder(kind, 18, **narrow)
    named, own = published.state(kind, 18, 3, **narrow, depths=units, size=256), ours.state_dict()
    assert own.keys() == named.keys()
    assert all(own[name].shape == named[name].shape for name in named)
    assert ours.config["depths"] == list(units)
    # the heads of 16, 32 and 64 pixels have 4, 5 and 6 convolutions
    pyramid = [4] * 3 + [5] * 4 + [6] * 11
    assert [len(head.convs) // 2 for head in ours.styles] == (pyramid if KINDS[kind].pyramid else [4] * 18)


def test_defaults_are_the_published_sizes():
    # a whole network of this size takes a gigabyte: its parts are compared by their arguments
    defaults = {n: p.default for n, p in inspect.signature(StyleEncoder).parameters.items()}
    assert (defaults["style_dim"], defaults["input_size"], defaults["in_channels"]) == (512, 256, 3)
    assert defaults["widths"] == (64, 128, 256, 512)
    assert [num_styles(side) for side in (32, 64, 256, 512, 1024)] == [8, 10, 14, 16, 18]


@pytest.mark.parametrize(("before", "after", "stride"), [(6, 6, 1), (6, 10, 2)])
@torch.no_grad()
def test_the_basic_unit_is_torchvisions(before, after, stride):
    down = None
    if stride > 1:
        down = torch.nn.Sequential(
            torch.nn.Conv2d(before, after, 1, stride, bias=False), torch.nn.BatchNorm2d(after)
        )
    theirs = BasicBlock(before, after, stride, down).eval()
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.5)
    ours = BasicUnit(before, after, stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = images(1, before, 8)
    torch.testing.assert_close(ours(x), theirs(x))


@torch.no_grad()
def test_images_of_three_to_four_are_encoded_as_the_public_encoders_of_cars_do():
    encoder, _ = encoder_of("BackboneEncoder")
    assert encoder(images()[:, :, 4:28]).shape == (2, SLOTS, published.STYLE_DIM)


# Inversion ----------------------------------------------------------------------------------------


def mean_code():
    return torch.randn(SLOTS, published.STYLE_DIM, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_one_pass_adds_the_mean_of_w():
    encoder, tensors = encoder_of("GradualStyleEncoder", channels=1)
    codes = Inverter(encoder, mean_code()).eval()(images(channels=1))
    expected = published.forward("GradualStyleEncoder", tensors, images(channels=1), SLOTS)
    torch.testing.assert_close(codes.double(), expected + mean_code(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["BackboneEncoder", "ProgressiveBackboneEncoder"])
@torch.no_grad()
def test_restyle_refines_the_code_from_the_image_and_the_current_drawing(kind, generator):
    encoder, tensors = encoder_of(kind, channels=6)
    inverter = Inverter(encoder, mean_code(), feedback=True, passes=3).eval()
    codes, expected = mean_code().repeat(2, 1, 1), []
    for _ in range(3):
        drawn = generator.synthesis(codes.float(), noise_mode="const")
        both = torch.cat([images(), drawn], dim=1)
        codes = codes + published.forward(kind, tensors, both, SLOTS)
        expected.append(codes)
    found = inverter.every_pass(images(), generator)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-3, atol=1e-3)
    assert torch.equal(inverter(images(), generator), found[-1])
    assert (found[0] - found[2]).abs().max() > 0.1  # the passes do something
    assert Inverter(encoder, mean_code(), feedback=True).passes == 5


@torch.no_grad()
def test_drawings_are_resized_by_the_means_of_areas(generator):
    large = StyleEncoder("BackboneEncoder", SLOTS, 6, **{**SIZES, "input_size": 64})
    small = StyleEncoder("BackboneEncoder", SLOTS, 6, **SIZES)
    codes = mean_code()[None]
    drawn = generator.synthesis(codes, noise_mode="const")
    wide = Inverter(large, mean_code(), feedback=True).draw(generator, codes, images(1, 3, 64))
    torch.testing.assert_close(wide, drawn.repeat_interleave(2, 2).repeat_interleave(2, 3))
    cut = Inverter(small, mean_code(), feedback=True).draw(generator, codes, images(1)[:, :, 4:28])
    torch.testing.assert_close(cut, drawn[:, :, 4:28])


def test_mixed_codes_keep_the_coarse_slots():
    codes, other = torch.zeros(2, SLOTS, 4), torch.ones(2, SLOTS, 4)
    mixed = mix_styles(codes, other, start=5, share=0.25)
    assert mixed[:, :5].abs().max() == 0
    assert (mixed[:, 5:] == 0.25).all()
    with pytest.raises(UserError, match="from slot 9"):
        mix_styles(codes, other, start=9)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "pSp"}, "'pSp' given, must be one of GradualStyleEncoder"),
     ({"input_size": 48}, "input_size 48 given, must be a power of two from 32"),
     ({"widths": (8, 16)}, "each must be four numbers"),
     ({"num_styles": 1}, "num_styles 1")],
)  # fmt: skip
def test_sizes_that_no_encoder_has_are_one_error(change, words):
    with pytest.raises(UserError, match=words):
        StyleEncoder(**{"kind": "BackboneEncoder", "num_styles": SLOTS, **SIZES, **change})


def test_wrong_images_generators_and_passes_are_one_error(generator):
    encoder, _ = encoder_of("BackboneEncoder", channels=6, slots=10)
    with pytest.raises(UserError, match=r"takes \[N, 6, 32, 32\]; resize them first"):
        encoder(images(channels=6, side=64))
    mean = torch.zeros(10, published.STYLE_DIM)
    inverter = Inverter(encoder, mean, feedback=True)
    with pytest.raises(UserError, match="for images of 64 pixels, but the generator of 32x32"):
        inverter(images(), generator)
    with pytest.raises(UserError, match="needs its generator"):
        inverter(images())
    with pytest.raises(UserError, match="passes: 2 given"):
        Inverter(encoder, mean, passes=2)
    with pytest.raises(UserError, match="latent_avg: shape"):
        Inverter(encoder, mean[:3])
