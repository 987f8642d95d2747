"""The discriminator: residual blocks, minibatch standard deviation (Karras et al. 2020, §4.1)."""

import pytest
import torch
from torch.testing import assert_close

from nada.run.errors import UserError
from nada.stylegan2.discriminator import Discriminator, minibatch_std


@pytest.mark.parametrize(
    ("resolution", "channel_base", "parameters"),
    [
        (1024, 32768, 29_012_513),
        (512, 32768, 28_982_849),
        (256, 32768, 28_864_129),
        (256, 16384, 24_001_089),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(resolution, channel_base, parameters):
    with torch.device("meta"):
        discriminator = Discriminator(resolution, channel_base)
    assert sum(p.numel() for p in discriminator.parameters()) == parameters


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (4, 4), (6, 2), (12, 3)])
def test_minibatch_std_equals_the_sample_by_sample_reference(rng, reference, batch, group):
    x = rng(batch, 5, 4, 4)
    assert_close(minibatch_std(x, group), reference.minibatch_std(x, group), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("batch", "asked", "used"), [(6, 4, 3), (2, 4, 2), (5, 4, 1), (9, 8, 3)])
def test_minibatch_group_shrinks_to_the_largest_divisor_of_the_batch(
    rng, reference, batch, asked, used
):
    x = rng(batch, 5, 4, 4)
    assert_close(minibatch_std(x, asked), reference.minibatch_std(x, used), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("resolution", "group"), [(16, 2), (64, 4)])
def test_logits_equal_the_literal_reference_in_float64(
    rng, reference, randomise, resolution, group
):
    torch.manual_seed(0)
    discriminator = randomise(Discriminator(resolution, 128, 6, mbstd_group_size=group).double())
    images = rng(4, 3, resolution, resolution)
    with torch.no_grad():
        logits = discriminator(images)
        expected = reference.discriminator(discriminator.state_dict(), images, group)
    assert logits.shape == (4, 1)
    assert_close(logits, expected, rtol=1e-9, atol=1e-9)


def test_a_sample_sees_its_group_and_no_other(rng):
    discriminator = Discriminator(16, 128, 6, mbstd_group_size=2).double()
    images = rng(4, 3, 16, 16)  # groups (0, 2) and (1, 3)
    with torch.no_grad():
        before = discriminator(images)
        images[2] += 1
        after = discriminator(images)
    changed = (before != after).flatten().tolist()
    assert changed == [True, False, True, False]


def test_images_of_a_wrong_size_are_one_clear_sentence():
    with pytest.raises(UserError, match=r"images: shape \[1, 3, 32, 32\] given.*\[N, 3, 16, 16\]"):
        Discriminator(16, 128, 6)(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="mbstd_group_size: 0 given, must be 1 or more"):
        Discriminator(16, mbstd_group_size=0)
