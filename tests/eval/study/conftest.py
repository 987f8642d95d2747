"""A small study: the pictures of three models, of colours that tell the model, seed and latent code."""

import numpy as np
import pytest

from eval.observation import Observation, save_observation
from eval.study import prepare
from eval.study.folder import load_study
from nada.run.spec.base import CONDITION_KEYS, as_json
from nada.run.spec.group_spec import ModelSpec
from nada.run.spec.study_spec import ShownModel, StudySpec

OURS = ("dog2cat", "nada", "mapper", 0, "source")
RIVALS = [("dog2cat", "tgan", "plain", 10, "source"), ("dog2cat", "ojha", "plain", 5, "source")]
PICTURES = 12  # latent codes of each model and seed
SIZE = 16


def observe(folder, condition, channel) -> str:
    """Write an observation of one model: pictures of one colour with noise in the corner."""
    arrays = {}
    for seed in (0, 1):
        images = np.zeros((PICTURES, SIZE, SIZE, 3), np.uint8)
        images[..., channel] = 100 + 50 * seed + np.arange(PICTURES)[:, None, None]
        images[:, : SIZE // 2, : SIZE // 2] += 40
        arrays[f"seed{seed}/images"] = images
    meta = {**dict(zip(CONDITION_KEYS, condition, strict=True)), "target": None}  # no judge
    meta["runs"] = [{"seed": 0}, {"seed": 1}]
    file = folder / f"{condition[1]}.npz"
    save_observation(file, Observation(meta, arrays))
    return str(file)


def spec_of(folder, **changes) -> StudySpec:
    """The spec of a study of OURS (red) against RIVALS (green and blue)."""
    rows = tuple(
        ShownModel(**dict(zip(CONDITION_KEYS, condition, strict=True)), observation=observe(folder, condition, channel))
        for channel, condition in enumerate([OURS, *RIVALS])
    )
    given = {
        "world": "mini", "group": "pareto", "questions": {"dog2cat": "Which is the better cat?"}, "rows": rows,
        "preferred": ModelSpec(**dict(zip(CONDITION_KEYS[1:], OURS[1:], strict=True))),
        "pairs": 8, "per_rater": 4, "repeats": 2, "checks": 3, "consent": "I agree.",
    }  # fmt: skip
    return StudySpec(**given | changes)


@pytest.fixture
def make_study(tmp_path):
    """Prepare a study in a folder by the command, as the workflow does; changes: of the spec."""

    def make(name="study", **changes):
        (tmp_path / "spec.json").write_text(as_json(spec_of(tmp_path, **changes)))
        assert prepare.main(["--spec", str(tmp_path / "spec.json"), "--out", str(tmp_path / name)]) == 0
        return load_study(tmp_path / name)

    return make


@pytest.fixture
def study(make_study):
    return make_study()
