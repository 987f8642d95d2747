"""A world of one's own, end to end: a checkpoint of the public code, forty photographs and a text, at smoke size."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nada.stylegan2.readers import rosinality
from nada.stylegan2.source_model import load_source
from workflow.worlds.mini.references import reference_images

pytestmark = pytest.mark.slow

WORLD = """\
like: mini
sources: {mine: my_generator.pt}
references: {domains: {photos: {source: my_photos}}}
tasks: {mine2cat: {source: mine, text: {source: dog, target: cat}, references: photos}}
"""
# Of four few-shot methods one, to be short.
CONFIG = """\
groups: {own: {rows: [
  {methods: [nada], variants: [adaptive, mapper]}, {methods: [tgan], variants: [plain], shots: [10, all]}]}}
"""


@pytest.fixture(scope="module")
def results(root, tmp_path_factory, snakemake, scikit_learn_extra):
    """The results of `snakemake all` in a copy of the project with a world `mine`."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("nada", "baselines", "eval", "workflow", "profiles"):
        shutil.copytree(root / name, folder / name, ignore=ignored)
    for name in ("Snakefile", "claims.yaml", "config.yaml"):
        shutil.copy(root / name, folder / name)
    home = folder / "workflow/worlds/mine"
    (home / "my_photos").mkdir(parents=True)
    (home / "world.yaml").write_text(WORLD)
    (home / "config.yaml").write_text(CONFIG)
    dog = load_source(root / "workflow/worlds/mini/weights/dog.safetensors")
    rosinality.write(home / "my_generator.pt", dog.networks())
    sides = np.random.default_rng(0).integers(40, 90, (40, 2))
    for number, (image, side) in enumerate(zip(reference_images("cat", "cat", "photo", 40, 32), sides, strict=True)):
        picture = Image.fromarray(image).resize([int(pixels) for pixels in side])
        picture.save(home / f"my_photos/{number:02}.png")
    done = snakemake("all", "--cores", "2", "--config", "world=mine", "preset=smoke", cwd=folder)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder / "results/smoke"


def test_the_table_shows_what_was_measured_and_says_what_was_not(results):
    text = (results / "tables/own.md").read_text()
    assert "intra-cluster LPIPS" in text and "memorised" in text
    assert "FID ↓" not in text and "target rate ↑" not in text
    assert "Not measured: FID, KID, precision, recall; the task has 40 real images, and 100 are needed" in text
    assert "factor correlation; the task names no 'target_class'" in text
    assert "Not measured in every row: memorised; with 40 shots 0 real images are new to the model" in text


def test_every_model_has_a_score_and_claims_are_not_made(results):
    scores = pd.read_csv(results / "scores.csv", keep_default_na=False)
    conditions = set(scores[["method", "variant", "shots"]].itertuples(index=False, name=None))
    assert conditions == {
        ("source", "unchanged", 0), ("replay", "images", 10), ("replay", "images", 40),
        ("nada", "adaptive", 0), ("nada", "mapper", 0), ("tgan", "plain", 10), ("tgan", "plain", 40),
    }  # fmt: skip
    assert not (results / "claims.html").exists()
    page = (results / "report.html").read_text(encoding="utf-8")
    assert '<section id="lead"' in page and '<section id="claims"' not in page
    assert (results / "converted/mine.safetensors").is_file()


def test_of_models_trained_on_all_images_memorisation_is_left_out(results):
    scores = pd.read_csv(results / "scores.csv", keep_default_na=False)
    memorised = scores[scores.metric == "memorised"]
    assert set(memorised.shots) == {10}
    assert set(scores[scores.metric == "nearest_training_lpips"].shots) == {10, 40}
