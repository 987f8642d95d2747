"""Scores of an adapted OASIS generator: planted changes inside, outside, and class by class."""

import numpy as np
import pytest
import torch
from torch import nn

from eval.latent_space.oasis import draw_pairs, score
from nada.images.label_maps import one_hot
from nada.oasis.adaptation import trainable_copy
from nada.oasis.generator import SMALL, OasisGenerator
from nada.run.errors import UserError

LABEL = 1
RED = torch.tensor([1.0, 0, 0])


class ColourClip:
    """Embeds an image as the unit vector of its mean colour, from black."""

    def encode_images(self, images):
        return nn.functional.normalize(images.mean(dim=(2, 3)) + 1.5, dim=-1)


class Eyes(nn.Module):
    """A random perceptual network of one stage."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)

    def stages(self, images):
        return [self.first(images).relu()]


def planted():
    """(source images, label maps) of 6 maps of 16 px: four with the class, of which one with a pixel of it."""
    ids = torch.zeros(6, 16, 16, dtype=torch.long)
    ids[:, :, 8:] = 2
    ids[:3, 4:12] = LABEL
    ids[3, 0, 0] = LABEL
    rng = np.random.default_rng(0)
    return rng.integers(60, 180, (6, 16, 16, 3), dtype=np.uint8), ids


def measured(frozen, adapted, ids, **options):
    return score(frozen, adapted, ids, LABEL, ColourClip(), nn.functional.normalize(
        RED - torch.tensor([0.0, 0.5, 0.5]), dim=0), Eyes(), **options)  # fmt: skip


def test_a_class_that_turned_red_scores_inside_and_nothing_outside():
    frozen, ids = planted()
    adapted = frozen.copy()
    adapted[(ids == LABEL).numpy()] += np.array([51, 0, 0], dtype=np.uint8)
    found = measured(frozen, adapted, ids)
    assert found.direction.value > 0.95 and found.direction.n == 3  # the single pixel is too little
    assert found.moved.value > 0.01
    assert found.inside.value == pytest.approx(51 / 255 / 3) and found.inside.n == 4
    assert (found.outside.value, found.outside_lpips.value, found.outside.n) == (0, 0, 4)
    assert (found.absent.value, found.absent_lpips.value, found.absent.n) == (0, 0, 2)
    assert found.by_class[0].value == found.by_class[2].value == 0
    assert found.by_class[LABEL].value == pytest.approx(0.2 / 3)
    rows = found.rows(LABEL, {1: "sea"})
    assert [(row["label"], row["class"], row["adapted"]) for row in rows] == [
        (0, "0", False), (1, "sea", True), (2, "2", False),
    ]  # fmt: skip
    assert [row["images"] for row in rows] == [6, 4, 6]


def test_a_change_outside_is_seen_outside_and_in_its_class_alone():
    frozen, ids = planted()
    adapted = frozen.copy()
    adapted[(ids == 2).numpy()] -= 30
    found = measured(frozen, adapted, ids)
    assert (found.direction.value, found.moved.value, found.inside.value) == (0, 0, 0)
    shares = [((ids[i] == 2).sum() / (ids[i] != LABEL).sum()).item() for i in range(6)]
    assert found.outside.value == pytest.approx(30 / 255 * np.mean(shares[:4]), rel=1e-6)
    assert found.absent.value == pytest.approx(30 / 255 * np.mean(shares[4:]), rel=1e-6)
    assert found.by_class[2].value == pytest.approx(30 / 255) and found.by_class[0].value == 0
    assert found.outside_lpips.value > 0 and found.absent_lpips.value > 0


def test_a_change_in_the_opposite_direction_scores_below_zero():
    frozen, ids = planted()
    adapted = frozen.copy()
    adapted[(ids == LABEL).numpy()] -= np.array([51, 0, 0], dtype=np.uint8)
    assert measured(frozen, adapted, ids).direction.value < -0.95


def test_scores_do_not_depend_on_the_batch():
    frozen, ids = planted()
    adapted = np.random.default_rng(1).integers(0, 256, frozen.shape, dtype=np.uint8)
    one, many = (measured(frozen, adapted, ids, batch=batch) for batch in (1, 4))
    for name in ("direction", "moved", "outside_lpips", "absent_lpips"):
        assert getattr(one, name).value == pytest.approx(getattr(many, name).value, rel=1e-4)


def test_images_without_the_class_and_sizes_that_do_not_match_are_refused():
    frozen, ids = planted()
    with pytest.raises(UserError, match="class 1 covers at least 0.01 of none of the 3 label maps"):
        measured(frozen[3:], frozen[3:], ids[3:])
    with pytest.raises(UserError, match="do not belong together"):
        measured(frozen, frozen[:2], ids)
    with pytest.raises(UserError, match="do not belong together"):
        measured(frozen, frozen, ids[:, :8])


# --- pairs


def generator():
    torch.manual_seed(5)
    about = {**SMALL, "resolution": 16, "width": 2, "hidden": 4, "multipliers": (4, 2, 1)}
    return OasisGenerator(classes=3, **about).eval().requires_grad_(False)


def test_both_generators_draw_the_same_noise_whatever_the_batch():
    frozen, (_, ids) = generator(), planted()
    same = trainable_copy(frozen).requires_grad_(False)
    a, b = draw_pairs(frozen, same, ids, seed=3)
    np.testing.assert_array_equal(a, b)
    assert a.shape == (6, 16, 16, 3) and a.dtype == np.uint8
    parts, _ = draw_pairs(frozen, same, ids, seed=3, batch=4)
    assert np.abs(parts.astype(int) - a).max() <= 1  # rounding of another batch
    others, _ = draw_pairs(frozen, same, ids, seed=4)
    assert (others != a).any()
    z = torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(3))])
    expected = frozen(one_hot(ids[:1], 3), z)[0, :, 0, 0]
    np.testing.assert_allclose(a[0, 0, 0] / 127.5 - 1, expected, atol=0.01)


def test_generators_of_two_architectures_and_broken_ones_are_refused():
    frozen, (_, ids) = generator(), planted()
    with pytest.raises(UserError, match="another architecture"):
        draw_pairs(frozen, OasisGenerator(classes=4, **SMALL), ids, seed=0)
    broken = trainable_copy(frozen).requires_grad_(False)
    broken.conv_img.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="image 0 holds NaN"):
        draw_pairs(frozen, broken, ids, seed=0)
