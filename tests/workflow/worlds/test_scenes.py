"""Scenes, training views, the shifted camera and junk of the mini world."""

import torch

from workflow.worlds.mini.junk import JUNK, half_way, junk
from workflow.worlds.mini.scenes import (
    augment,
    cosine,
    from_uint8,
    render_uint8,
    sample_scenes,
)
from workflow.worlds.mini.shifted_camera import COLOURLESS, UNSEEN, erase, recolour, shifted_scenes
from workflow.worlds.mini.species import PARTS, SPECIES, STYLES


def test_named_species_and_style_are_fixed_and_the_rest_is_drawn():
    species, style, u = sample_scenes(500, torch.Generator().manual_seed(0), "fox", None)
    assert (species == SPECIES.index("fox")).all()
    assert set(style.tolist()) == set(range(len(STYLES)))
    assert 0 <= u.min() < 0.01 and 0.99 < u.max() < 1


def test_junk_is_finite_in_range_and_unlike_its_pictures():
    generator = torch.Generator().manual_seed(1)
    species, style, u = sample_scenes(2 * len(JUNK), generator)
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


def test_the_shifted_camera_omits_combinations_and_draws_foreign_coats():
    scenes = shifted_scenes(1500, torch.Generator().manual_seed(3), 32, hybrids=0.2, foreign_coats=0.15)
    parts, whole, style = scenes.parts, scenes.whole, scenes.style
    assert scenes.images.shape == (1500, 3, 32, 32) and len(scenes.u) == 1500
    kind, coat = parts[:, 0], parts[:, PARTS.index("coat")]
    for name, manner in UNSEEN:
        seen = (scenes.species == SPECIES.index(name)) & (style == STYLES.index(manner))
        assert not seen.any(), (name, manner)
    shapes = parts[whole][:, : PARTS.index("coat")]
    assert (shapes == shapes[:, :1]).all()
    animals = whole & (kind != SPECIES.index("person"))
    assert 0.08 < (coat != kind)[animals].float().mean() < 0.25
    assert 0.14 < (scenes.species < 0).float().mean() < 0.26  # chimeras
    assert 0.04 < (scenes.second >= 0).float().mean() < 0.2  # hybrids


def test_a_near_miss_has_one_foreign_part_and_no_other():
    scenes = shifted_scenes(1500, torch.Generator().manual_seed(7), 32, hybrids=0.2)
    near = scenes.foreign >= 0
    assert 0.12 < near.float().mean() < 0.28
    assert (scenes.second[near] < 0).all() and (scenes.species[near] >= 0).all()
    coat = PARTS.index("coat")
    odd = scenes.parts[near][:, :coat] != scenes.species[near][:, None]
    assert (odd.sum(dim=1) == 1).all()
    assert torch.equal(odd.int().argmax(dim=1), scenes.foreign[near])
    ears = scenes.foreign[near] == PARTS.index("ears")
    assert 0.45 < ears.float().mean() < 0.65  # 0.4, and a quarter of the others


def test_faces_between_two_species_belong_to_neither():
    faces = from_uint8(half_way(40, torch.Generator().manual_seed(4), 32))
    assert faces.shape == (40, 3, 32, 32)
    _, style, u = sample_scenes(40, torch.Generator().manual_seed(4))  # the same scenes
    for kind in range(len(SPECIES)):
        whole = from_uint8(render_uint8(torch.full((40,), kind), style, u, 32))
        assert ((faces - whole).abs().mean((1, 2, 3)) > 0.01).all(), SPECIES[kind]


def test_recolouring_turns_hues_and_keeps_the_mean_of_a_cloudless_picture():
    generator = torch.Generator().manual_seed(5)
    species, style, u = sample_scenes(64, generator, None, "photo")
    images = from_uint8(render_uint8(species, style, u, 32))
    moved = recolour(images, style, generator)
    clear = (moved.mean(1) - images.mean(1)).abs().amax((1, 2)) < 1e-5  # turned hues keep the mean
    assert 0.3 < clear.float().mean() < 0.7
    assert (clear & ~torch.isclose(moved, images, atol=1e-5).flatten(1).all(1)).any()


def test_recolouring_leaves_styles_without_colours():
    generator = torch.Generator().manual_seed(8)
    species, style, u = sample_scenes(64, generator)
    images = from_uint8(render_uint8(species, style, u, 32))
    same = (recolour(images, style, generator) == images).flatten(1).all(1)
    for manner in COLOURLESS:
        assert same[style == manner].all()
    assert not same.all()


def test_erasing_covers_one_square_of_some_pictures():
    images = torch.zeros(200, 3, 32, 32)
    covered = (erase(images, torch.Generator().manual_seed(6)) != 0).any(1)
    touched = covered.flatten(1).any(1)
    assert 0.15 < touched.float().mean() < 0.35
    assert covered[touched].float().mean((1, 2)).max() <= 0.28
