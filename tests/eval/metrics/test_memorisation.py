"""Memorisation on constructed cases, against its definition."""

import numpy as np
import pytest

from eval.metrics.memorisation import QUANTILE, memorised, nearest, values
from eval.metrics.sample import Sample
from eval.observation import Observation
from nada.run.errors import UserError


def test_the_nearest_of_images_and_mirrors_counts():
    assert nearest(np.array([[0.3, 0.1], [0.0, 0.5]])).tolist() == [0.1, 0.0]
    with pytest.raises(UserError, match="not finite"):
        nearest(np.array([[np.nan, 1.0]]))


def test_replayed_images_are_memorised_and_fresh_ones_are_not():
    rng = np.random.default_rng(0)
    fresh = rng.uniform(0.5, 1.5, 400)
    assert memorised(np.zeros(50), fresh) == 1.0
    assert memorised(rng.uniform(0.5, 1.5, 4000), fresh) == pytest.approx(QUANTILE, abs=0.02)
    assert memorised(np.full(10, 2.0), fresh) == 0.0
    with pytest.raises(UserError, match="19 new real images"):
        memorised(np.zeros(5), fresh[:19])


@pytest.mark.parametrize("share", [0, 0.02, 0.051, 0.2])
def test_copies_of_training_images_among_the_real_ones_hide_no_replay(share):
    rng = np.random.default_rng(0)
    fresh = rng.uniform(0.5, 1.5, 400)
    fresh[: round(share * 400)] = rng.uniform(0, 1e-6, round(share * 400))  # equal but for rounding
    assert memorised(np.zeros(300), fresh) == 1.0
    new_pictures = memorised(rng.uniform(0.5, 1.5, 4000), fresh)
    assert new_pictures == pytest.approx(QUANTILE, abs=0.04)


def test_a_set_of_copies_alone_has_no_new_pictures_to_compare_with():
    with pytest.raises(UserError, match=r"19 new real images .*\(381 more are copies of training"):
        memorised(np.zeros(5), np.concatenate([np.zeros(381), np.ones(19)]))


@pytest.mark.parametrize(("new", "found"), [(20, ["nearest_training_lpips", "memorised"]), (19, ["nearest_training_lpips"])])
def test_a_run_with_too_few_new_pictures_has_no_share_of_memorised_ones(new, found):
    fresh = np.concatenate([np.zeros(5), np.ones(new)])[:, None]
    looked = Observation({}, {"seed0/training_lpips": np.ones((4, 2)), "seed0/fresh_lpips": fresh})
    sample = Sample(looked, "seed0", "run", None, 4)
    assert [value.metric.name for value in values(sample)] == found
