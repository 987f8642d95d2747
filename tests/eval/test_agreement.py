"""The bounds of agreement forgive rounding and nothing else."""

import numpy as np
import pytest

from nada.images.tensors import to_uint8
from nada.run.artifact import load_artifact
from tests.eval.agreement import (
    assert_numbers_agree,
    assert_observations_agree,
    assert_pictures_agree,
)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(1, 255, (8, 16, 16, 3), dtype=np.uint8)


def test_a_value_between_two_levels_may_become_either(pictures):
    rounded = pictures.copy()
    rounded.flat[::200] += 1
    assert_pictures_agree(rounded, pictures)


def test_two_levels_or_many_values_are_no_rounding(pictures):
    far, many = pictures.copy(), pictures.copy()
    far.flat[0] += 2
    many.flat[::50] -= 1
    for wrong in (far, many):
        with pytest.raises(AssertionError, match="levels apart|of the values differ"):
            assert_pictures_agree(wrong, pictures)


def test_another_latent_or_another_truncation_does_not_agree(tiny_world):
    from eval.observation import load_observation
    from eval.observe_runs import latents

    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    model = load_artifact(tiny_world.folder / "dog2cat/nada-adaptive/seed0")
    right = latents(100, 8, 8)
    assert_pictures_agree(to_uint8(model.sample(right)), seen["seed0/images"])
    for wrong in (model.sample(latents(101, 8, 8)), model.sample(right, 0.95)):
        with pytest.raises(AssertionError):
            assert_pictures_agree(to_uint8(wrong), seen["seed0/images"])


def test_numbers_of_other_pictures_do_not_agree(tiny_world):
    from eval.observation import load_observation

    one, other = (
        load_observation(tiny_world.folder / f"nada-{name}.npz") for name in ("adaptive", "global")
    )
    for name in ("features", "class_logits", "lpips"):
        assert_numbers_agree(one[f"seed0/{name}"], one[f"seed0/{name}"] * 1.001)
        with pytest.raises(AssertionError):
            assert_numbers_agree(one[f"seed0/{name}"], other[f"seed0/{name}"])
    with pytest.raises(AssertionError):
        assert_observations_agree(one.arrays, other.arrays)
