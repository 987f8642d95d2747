"""Training views and junk of the mini world."""

import torch

from workflow.worlds.mini.renderer import SPECIES, STYLES
from workflow.worlds.mini.scenes import (
    augment,
    cosine,
    from_uint8,
    junk,
    render_uint8,
    sample_scenes,
)


def test_named_species_and_style_are_fixed_and_the_rest_is_drawn():
    species, style, u = sample_scenes(500, torch.Generator().manual_seed(0), "fox", None)
    assert (species == SPECIES.index("fox")).all()
    assert set(style.tolist()) == set(range(len(STYLES)))
    assert 0 <= u.min() < 0.01 and 0.99 < u.max() < 1


def test_junk_is_finite_in_range_and_unlike_its_pictures():
    generator = torch.Generator().manual_seed(1)
    species, style, u = sample_scenes(12, generator)
    images = from_uint8(render_uint8(species, style, u, 32))
    garbage = junk(images, generator)
    assert garbage.isfinite().all() and garbage.abs().max() <= 1
    assert ((garbage - images).abs().mean((1, 2, 3)) > 0.03).all()


def test_views_keep_the_shape_and_differ_from_draw_to_draw():
    generator = torch.Generator().manual_seed(2)
    species, style, u = sample_scenes(4, generator)
    images = from_uint8(render_uint8(species, style, u, 32))
    first, second = augment(images, generator), augment(images, generator)
    assert first.shape == images.shape and not torch.equal(first, second)


def test_learning_rate_warms_up_to_the_peak_and_ends_at_two_percent():
    rates = [cosine(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] == 0.02 and max(rates) == 1.0 and rates.index(1.0) <= 50
    assert abs(rates[-1] - 0.02) < 1e-3
