"""The two-generator step: shared codes and noise, or the public code's independent ones."""

import copy

import pytest
import torch

from nada.adapt import NadaSettings, draw_codes, render_pair


@pytest.mark.parametrize("style_mixing", [0.0, 1.0])
def test_shared_codes_and_noise_give_equal_images_before_the_first_step(generator, style_mixing):
    settings = NadaSettings(batch=3, style_mixing=style_mixing)
    frozen_images, trained_images = render_pair(generator, copy.deepcopy(generator), settings)
    assert torch.equal(frozen_images, trained_images.detach())
    assert trained_images.requires_grad and not frozen_images.requires_grad


def test_official_codes_share_no_noise(generator):
    settings = NadaSettings(batch=3, codes="official")
    frozen_images, trained_images = render_pair(generator, copy.deepcopy(generator), settings)
    assert not torch.equal(frozen_images, trained_images)


def test_without_mixing_one_w_fills_every_slot(generator):
    codes, _ = draw_codes(generator, NadaSettings(batch=2, style_mixing=0.0))
    assert torch.equal(codes, codes[:, :1].expand_as(codes))


def test_mixing_switches_once_from_one_w_to_another_within_the_slots(generator):
    crossovers = set()
    for seed in range(60):
        torch.manual_seed(seed)
        codes, again = draw_codes(generator, NadaSettings(batch=2, style_mixing=1.0))
        assert torch.equal(codes, again)
        changes = (codes[0, 1:] != codes[0, :-1]).any(dim=-1).nonzero().flatten()
        assert len(changes) == 1
        crossovers.add(int(changes) + 1)
    assert crossovers == {1, 2, 3, 4, 5}


def test_mixing_happens_with_the_given_probability(generator):
    torch.manual_seed(0)
    settings = NadaSettings(batch=1, style_mixing=0.3)
    drawn = [draw_codes(generator, settings)[0] for _ in range(500)]
    mixed = sum(bool((codes[0] != codes[0, :1]).any()) for codes in drawn)
    assert abs(mixed / 500 - 0.3) < 4 * (0.3 * 0.7 / 500) ** 0.5


def test_official_mixing_crosses_over_at_different_slots(generator):
    differ = 0
    for seed in range(20):
        torch.manual_seed(seed)
        settings = NadaSettings(batch=1, style_mixing=1.0, codes="official")
        frozen, trained = draw_codes(generator, settings)
        assert torch.equal(frozen[:, 0], trained[:, 0])
        assert torch.equal(frozen[:, -1], trained[:, -1])
        differ += not torch.equal(frozen, trained)
    assert differ > 5
