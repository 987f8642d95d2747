"""The mini world's camera draws what its factors say, at every resolution."""

import pytest
import torch

from workflow.worlds.mini.painting import Palette, hsv_to_rgb
from workflow.worlds.mini.renderer import factors, render
from workflow.worlds.mini.shifted_camera import COLOURLESS
from workflow.worlds.mini.species import (
    FACTORS,
    NUM_UNIFORMS,
    PARTS,
    SPECIES,
    STYLES,
    UNIFORMS,
    standing_share,
)


def scenes(n=14, seed=0):
    u = torch.rand(n, NUM_UNIFORMS, generator=torch.Generator().manual_seed(seed))
    return torch.arange(n) % len(SPECIES), u, torch.zeros(n, dtype=torch.long)


def test_images_are_finite_and_in_range_for_every_species_and_style():
    n = len(SPECIES) * len(STYLES)
    u = torch.rand(n, NUM_UNIFORMS, generator=torch.Generator().manual_seed(1))
    images = render(torch.arange(n) % len(SPECIES), u, torch.arange(n) // len(SPECIES), 32)
    assert images.shape == (n, 3, 32, 32)
    assert images.isfinite().all() and images.min() >= -1 and images.max() <= 1
    assert (images.flatten(1).std(dim=1) > 0.05).all()  # none is a blank


def test_the_same_scene_is_the_same_picture_whatever_else_is_in_the_batch():
    species, u, style = scenes()
    together = render(species, u, style, 32)
    alone = torch.cat(
        [render(species[i : i + 1], u[i : i + 1], style[i : i + 1], 32) for i in range(len(u))]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_a_coarse_picture_is_the_fine_one_averaged():
    species, u, style = scenes()
    plain = Palette(textured=False)
    fine = torch.nn.functional.avg_pool2d(render(species, u, style, 128, plain), 4)
    assert (render(species, u, style, 32, plain) - fine).abs().mean() < 0.03


def test_species_share_pose_and_background_of_the_same_uniforms():
    _, u, style = scenes()
    dog, cat = (torch.full((len(u),), SPECIES.index(s)) for s in ("dog", "cat"))
    corner = (slice(None), slice(None), slice(0, 2), slice(0, 2))
    torch.testing.assert_close(render(dog, u, style, 32)[corner], render(cat, u, style, 32)[corner])
    shared = [FACTORS.index(name) for name in ("shift_x", "rotation", "yaw", "background_r")]
    torch.testing.assert_close(factors(dog, u)[:, shared], factors(cat, u)[:, shared])


def test_a_chimera_takes_each_part_from_its_own_species():
    _, u, style = scenes(6, seed=5)
    dog, cat = SPECIES.index("dog"), SPECIES.index("cat")
    whole = torch.full((6,), dog)
    parts = whole[:, None].repeat(1, len(PARTS))
    torch.testing.assert_close(render(parts, u, style, 32), render(whole, u, style, 32))
    parts[:, PARTS.index("muzzle")] = cat
    mixed, plain = render(parts, u, style, 64), render(whole, u, style, 64)
    changed = (mixed - plain).abs().sum(1) > 0.05
    assert changed[:, 24:].any() and not changed[:, :16].any()  # the ears stay the dog's


def test_another_palette_changes_colours_and_bands_the_background():
    species, u, style = scenes()
    plain = render(species, u, style, 32)
    turned = render(species, u, style, 32, Palette(hue_shift=0.3))
    torch.testing.assert_close(plain.mean(1), turned.mean(1), rtol=0, atol=0.35)
    assert (plain - turned).abs().mean() > 0.05
    row = render(species, u, style, 32, Palette(bands=1.0))[:, :, 0]
    assert row.diff(dim=2).abs().mean() > 0.02


def test_three_of_four_dogs_have_standing_ears():
    lift = torch.linspace(0, 1, 1001)
    share = standing_share(lift)
    assert 0.74 < (share > 0.5).float().mean() < 0.76
    assert 0.15 < ((share > 0.2) & (share < 0.8)).float().mean() < 0.3  # some are between
    assert share.diff().max() < 0.01  # without a jump


def test_shift_factors_move_the_face_in_their_direction():
    u = torch.full((2, NUM_UNIFORMS), 0.5)
    u[0, UNIFORMS.index("shift_x")], u[1, UNIFORMS.index("shift_x")] = 0.0, 1.0
    bear = torch.full((2,), SPECIES.index("bear"))
    images = render(bear, u, torch.zeros(2, dtype=torch.long), 64)
    background = images[:, :, :, :1]  # the gradient is vertical
    mask = ((images - background).abs().sum(1) > 0.35).float()
    x = torch.linspace(-1, 1, 64)
    centre = (mask * x).sum((1, 2)) / mask.sum((1, 2))
    assert 0.15 < float(centre[1] - centre[0]) < 0.33  # 0.24 canvas units apart


def test_pictures_change_continuously_with_every_uniform():
    species, u, style = scenes(7, seed=3)
    before = render(species, u, style, 32)
    for name in UNIFORMS:
        moved = u.clone()
        moved[:, UNIFORMS.index(name)] = (moved[:, UNIFORMS.index(name)] + 1e-3).clamp(max=1)
        assert (render(species, moved, style, 32) - before).abs().mean() < 0.01, name


def test_hue_saturation_value_agree_with_the_standard_library():
    import colorsys

    hsv = torch.rand(20, 3, generator=torch.Generator().manual_seed(4))
    ours = hsv_to_rgb(*hsv.T)
    theirs = torch.tensor([colorsys.hsv_to_rgb(*row) for row in hsv.tolist()])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_wrong_number_of_uniforms_is_an_error():
    with pytest.raises(ValueError, match=f"expected \\[B, {NUM_UNIFORMS}\\]"):
        render(
            torch.zeros(1, dtype=torch.long), torch.rand(1, 3), torch.zeros(1, dtype=torch.long), 32
        )


def test_weights_of_one_species_and_style_draw_them_and_between_two_lies_neither():
    species, u, style = scenes()
    kinds = torch.nn.functional.one_hot(species, len(SPECIES)).float()
    styles = torch.nn.functional.one_hot(style, len(STYLES)).float()
    whole = render(species, u, style, 32)
    torch.testing.assert_close(render(kinds, u, styles, 32), whole, rtol=0, atol=1e-5)
    between = render((kinds + kinds.roll(1, dims=1)) / 2, u, styles, 32)
    other = render(kinds.roll(1, dims=1), u, styles, 32)
    assert ((between - whole).abs().mean((1, 2, 3)) > 0.005).all()
    assert ((between - other).abs().mean((1, 2, 3)) > 0.005).all()


def test_pictures_of_colourless_styles_have_hardly_any_colour():
    _, u, _ = scenes()
    person = torch.full((len(u),), SPECIES.index("person"))
    for style in COLOURLESS:
        images = render(person, u, torch.full((len(u),), style), 32)
        assert (images.amax(1) - images.amin(1)).max() < 0.15, STYLES[style]
