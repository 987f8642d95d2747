"""The rule that chooses hyperparameters from trials."""

import pandas as pd
import pytest

from nada.run.errors import UserError
from workflow.worlds.mini.choose import FLOOR, TASKS, choose, curves, length


def scores(trials):
    """Rows of scores.csv of {(method, variant): {step: (KID of the first task, of the second)}}."""
    return pd.DataFrame(
        [
            {"method": method, "variant": variant, "task": task, "step": step, "metric": "kid", "weights": "final",
             "value": value}
            for (method, variant), steps in trials.items()
            for step, values in steps.items()
            for task, value in zip(TASKS, values, strict=True)
        ]
    )  # fmt: skip


def test_what_counts_is_the_geometric_mean_of_kids_not_below_the_floor():
    means = curves(scores({("tgan", "published"): {"100": (0.4, 0.9), "200": (0.4, 0.001)}}))
    assert means.kid.tolist() == pytest.approx([0.6, (0.4 * FLOOR) ** 0.5])


def test_a_length_is_the_earliest_within_a_tenth_of_the_best():
    curve = pd.DataFrame({"step": ["200", "100", "300"], "kid": [0.52, 0.9, 0.50]})
    assert length(curve) == (200, 0.52)


@pytest.mark.parametrize(("other", "chosen"), [(0.79, "lr_half"), (0.81, "published")])
def test_the_published_values_stay_unless_a_trial_is_lower_by_a_fifth(other, chosen):
    means = curves(scores({
        ("tgan", "published"): {"100": (1.0, 1.0)},
        ("tgan", "lr_half"): {"100": (other, other)},
        ("ojha", "published"): {"100": (3.0, 3.0)},
    }))  # fmt: skip
    table = choose(means).set_index(["method", "variant"])
    assert table.chosen["tgan"].to_dict() == {"published": chosen == "published", "lr_half": chosen == "lr_half"}
    assert table.chosen["ojha"].all()


def test_missing_trials_are_named():
    lacking = scores({("tgan", "published"): {"100": (1.0, 1.0)}})
    with pytest.raises(UserError, match="face2cartoon lacks trials"):
        curves(lacking[lacking.task == TASKS[0]])
    with pytest.raises(UserError, match="tgan has no trial 'published'"):
        choose(curves(scores({("tgan", "lr_half"): {"100": (1.0, 1.0)}})))
