"""Latent codes and images of the two generators: shared or drawn codes, noise, style mixing (§4.1)."""

import copy

import pytest
import torch

from nada.codes import draw_codes, render_pair
from nada.training import NadaHyperparameters


def render(generator, hparams):
    """The images of one batch, before any step."""
    codes = draw_codes(generator, hparams)
    return render_pair(generator, copy.deepcopy(generator), codes, hparams)


@pytest.mark.parametrize("style_mixing", [0.0, 1.0])
def test_shared_codes_and_noise_give_equal_images_before_the_first_step(generator, style_mixing):
    hparams = NadaHyperparameters(batch=3, style_mixing=style_mixing, noise="shared")
    frozen_images, trained_images = render(generator, hparams)
    assert torch.equal(frozen_images, trained_images.detach())
    assert trained_images.requires_grad and not frozen_images.requires_grad


def test_by_default_each_generator_draws_its_own_noise_and_nothing_else(generator):
    frozen_images, trained_images = render(generator, NadaHyperparameters(batch=3))
    assert not torch.equal(frozen_images, trained_images)
    for conv in generator.synthesis.convs:
        conv.noise_strength.data.zero_()
    frozen_images, trained_images = render(generator, NadaHyperparameters(batch=3))
    assert torch.equal(frozen_images, trained_images)


def test_without_mixing_one_w_fills_every_slot(generator):
    codes, _, mixed = draw_codes(generator, NadaHyperparameters(batch=2, style_mixing=0.0))
    assert not mixed
    assert torch.equal(codes, codes[:, :1].expand_as(codes))


def test_mixing_switches_once_from_one_w_to_another_within_the_slots(generator):
    crossovers = set()
    for seed in range(60):
        torch.manual_seed(seed)
        codes, again, mixed = draw_codes(generator, NadaHyperparameters(batch=2, style_mixing=1.0))
        assert mixed
        assert torch.equal(codes, again)
        changes = (codes[0, 1:] != codes[0, :-1]).any(dim=-1).nonzero().flatten()
        assert len(changes) == 1
        crossovers.add(int(changes) + 1)
    assert crossovers == {1, 2, 3, 4, 5}


def test_mixing_happens_with_the_given_probability(generator):
    torch.manual_seed(0)
    hparams = NadaHyperparameters(batch=1, style_mixing=0.3)
    drawn = [draw_codes(generator, hparams).frozen for _ in range(500)]
    mixed = sum(bool((frozen[0] != frozen[0, :1]).any()) for frozen in drawn)
    assert abs(mixed / 500 - 0.3) < 4 * (0.3 * 0.7 / 500) ** 0.5


def test_official_mixing_crosses_over_at_different_slots(generator):
    differ = 0
    for seed in range(20):
        torch.manual_seed(seed)
        hparams = NadaHyperparameters(batch=1, style_mixing=1.0, codes="official")
        frozen, trained, _ = draw_codes(generator, hparams)
        assert torch.equal(frozen[:, 0], trained[:, 0])
        assert torch.equal(frozen[:, -1], trained[:, -1])
        differ += not torch.equal(frozen, trained)
    assert differ > 5
