"""docs/configuration.md: every example is a file that loads, and does what the page says."""

import re

import pytest
import yaml

from workflow.plan.checking import merge
from workflow.plan.plan import load_plan
from workflow.plan.runs import Condition

BLOCK = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs/configuration.md").read_text()


@pytest.fixture(scope="module")
def project(root, page, tmp_path_factory):
    """A folder with the project's files, and the examples of the page written into them."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("baselines", "eval"):
        (folder / name).symlink_to(root / name)
    (folder / "workflow/worlds/mine").mkdir(parents=True)
    (folder / "workflow/worlds/mini").symlink_to(root / "workflow/worlds/mini")
    (folder / "workflow/presets").mkdir()
    config = yaml.safe_load((root / "config.yaml").read_text())
    for file, text in BLOCK.findall(page):
        if file == "config.yaml":
            config = merge(config, yaml.safe_load(text))
        else:
            (folder / file).write_text(text)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def test_every_example_of_the_page_names_its_file(page):
    assert len(BLOCK.findall(page)) == page.count("```yaml") == 7


def test_a_hyperparameter_a_variant_and_a_group_are_what_the_page_says(project):
    plan = load_plan(project)
    assert plan.shown == ["ablation", "mine"]
    long = plan.hyperparameters(Condition("dog2cat", "nada", "k_2_long"))
    assert (long["iterations"], long["lr"], long["layers"]["k"]) == (480, 0.001, 2)
    names = [condition.name for condition in plan.members("mine")]
    assert names[2:] == ["nada-k_2", "nada-k_2_long", "tgan-plain-10shot", "tgan-plain-10shot-nada"]
    assert "styles" in plan.targets  # not shown, and its images are not in this world


def test_a_task_of_a_world_of_ones_own_has_the_variant_that_it_names(project):
    plan = load_plan(project, {"world": "mine"})
    assert (plan.shown, plan.results) == (["styles"], "results/mine")
    assert [c.name for c in plan.members("styles")][-1] == "nada-manual_layers"


def test_a_preset_changes_every_world(project):
    for world, shown in (("mini", ["ablation", "mine"]), ("mine", ["styles"])):
        plan = load_plan(project, {"world": world, "preset": "quick"})
        condition = Condition("dog2cat", "nada", "adaptive")
        assert plan.hyperparameters(condition)["iterations"] == 8
        assert (plan.shown, plan.results) == (shown, "results/quick")
