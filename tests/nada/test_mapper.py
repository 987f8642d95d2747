"""The latent mapper (§4.3, Eq. 5): levels, normalisation, objective."""

import numpy as np
import pytest
import torch

from nada.mapper import LatentMapper, MapperLoss, MapperSettings


@pytest.mark.parametrize(
    "num_ws, widths", [(6, [4, 2]), (8, [4, 4]), (10, [4, 4, 2]), (18, [4, 4, 10])]
)
def test_levels_are_4_to_8_px_16_to_32_px_and_finer_as_far_as_the_slots_go(num_ws, widths):
    assert LatentMapper(num_ws, 8).widths == widths


@pytest.mark.parametrize("normalise, axis", [("features", 2), ("official", 1)])
def test_the_mapper_adds_a_tenth_of_its_levels_outputs_against_a_numpy_reference(normalise, axis):
    torch.manual_seed(0)
    mapper = LatentMapper(10, 8, normalise)
    w_plus = torch.randn(3, 10, 8)
    expected = w_plus.numpy().astype(np.float64).copy()
    for level, slots in zip(mapper.levels, (slice(0, 4), slice(4, 8), slice(8, 10)), strict=True):
        x = w_plus.numpy().astype(np.float64)[:, slots]
        x = x / np.sqrt((x**2).mean(axis=axis, keepdims=True) + 1e-8)  # of a slot, or of a feature
        for layer in level:
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            x = x @ (weight * 0.01 / np.sqrt(8)).T + bias * 0.01
            x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
        expected[:, slots] += 0.1 * x
    moved = mapper.map_w_plus(w_plus).detach().numpy()
    np.testing.assert_allclose(moved, expected, rtol=2e-5, atol=1e-7)


def test_a_slot_s_move_depends_on_that_slot_alone():
    mapper = LatentMapper(6, 8)
    w_plus = torch.randn(1, 6, 8)
    changed = w_plus.clone()
    changed[:, 2] += 1
    difference = (mapper.map_w_plus(changed) - mapper.map_w_plus(w_plus)).abs().amax(dim=(0, 2))
    assert difference[2] > 0 and difference[[0, 1, 3, 4, 5]].max() == 0


@pytest.fixture
def objective(generator, clip):
    clip.weight = 0.5
    text = clip.encode_texts(["cat"])[0]

    def make(**settings):
        return MapperLoss(generator, [clip], [text], MapperSettings(**settings))

    return make


def codes(generator):
    torch.manual_seed(4)
    return generator.broadcast(generator.mapping(torch.randn(2, 8))).detach()


def test_a_mapper_that_moves_nothing_pays_only_the_clip_loss(generator, objective):
    w_plus = codes(generator)
    terms = objective()(w_plus, w_plus)
    assert terms["l2"] == 0 and terms["norm_loss"] == 0
    assert torch.equal(terms["loss"], terms["clip_loss"])


@pytest.mark.parametrize("form", ["distance", "official"])
def test_the_objective_is_the_weighted_sum_of_its_terms_in_both_forms_of_eq_5(
    generator, clip, objective, form
):
    w_plus = codes(generator)
    mapped = w_plus + 0.3
    terms = objective(lambda_l2=0.5, lambda_norm=0.2, norm_loss=form)(w_plus, mapped)
    with torch.no_grad():
        base, moved = (
            clip.embed_images(generator.synthesis(w, "const")).double().numpy()
            for w in (w_plus, mapped)
        )
    norms = [np.linalg.norm(e, axis=-1, keepdims=True) for e in (base, moved)]
    if form == "distance":
        distance = ((base / norms[0] - moved / norms[1]) ** 2).sum(axis=-1).mean() * 0.5
    else:
        distance = ((norms[0] - norms[1]) ** 2).mean()
    text = clip.encode_texts(["cat"])[0].double().numpy()
    clip_loss = 0.5 * (1 - (moved / norms[1]) @ text).mean()
    expected = clip_loss + 0.5 * 0.3**2 + 0.2 * distance
    assert terms["norm_loss"].item() == pytest.approx(distance, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
