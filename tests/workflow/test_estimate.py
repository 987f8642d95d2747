"""The forecast at the start: seconds of every job, added up."""

import pytest

from baselines import registry
from workflow.estimate import core_seconds, minutes, sentence
from workflow.plan.config import load
from workflow.plan.plan import Plan

SECONDS = {"start": 2.0, "observation": 10.0, "step": {"nada": 0.5, "mapper": 0.1, "other": 0.25}}


def plan(root, seconds=SECONDS, **overrides):
    config, world = load(root, overrides)
    world = {key: value for key, value in world.items() if key != "seconds"}
    if seconds:
        world["seconds"] = seconds
    return Plan(config, world, registry.methods(root / "baselines"))


@pytest.fixture(scope="module")
def one_group():
    """Overrides that leave NADA's mapper and its parent on one task, and TGAN on ten images."""
    rows = [
        {"methods": ["nada"], "variants": ["mapper"], "shots": [0], "warm_starts": ["source"]},
        {"methods": ["tgan"], "variants": ["plain"], "shots": [10], "warm_starts": ["source"]},
    ]
    group = {"title": "t", "tasks": ["dog2cat"], "rows": rows, "controls": ["source"], "table": ["fid"],
             "grid": {"rows": 4, "truncation_psi": 0.7}}  # fmt: skip
    return {"groups": {"one": group}, "show": ["one"]}


def test_every_job_of_the_plan_is_counted_once(root, one_group):
    stages = core_seconds(plan(root, **one_group))
    # source, NADA without a mapper as its parent, the mapper, TGAN; 240, 200 and 600 steps
    assert stages["train"] == 4 * 2 + 240 * 0.5 + 200 * 0.1 + 600 * 0.25
    # three hyperparameters and the reference images, a thousand images each
    assert stages["observe"] == 4 * (2 + 10)
    # scores, table (two endings, one job), grid, losses, training, neighbours
    assert stages["show"] == 6 * 2
    five = core_seconds(plan(root, seeds=[0, 1, 2, 3, 4], **one_group))
    assert five["train"] == 5 * stages["train"]
    assert five["observe"] == 4 * 2 + (3 * 5 + 1) * 10
    assert five["show"] == stages["show"]


def test_lengths_that_are_left_out_are_counted_as_the_methods_have_them(root, one_group):
    made = plan(root, **one_group)
    for condition in made.conditions.values():
        made.config["methods"][condition.method]["hyperparameters"].pop("iterations", None)
    made.config["methods"]["nada"]["variants"]["mapper"]["hyperparameters"]["mapper"].pop("iterations")
    # NADA's 300 steps, StyleCLIP's 50,000 of a mapper, TGAN's 5000
    assert core_seconds(made)["train"] == 4 * 2 + 300 * 0.5 + 50_000 * 0.1 + 5000 * 0.25


def test_only_what_is_asked_for_is_estimated(root):
    made = plan(root)
    part, whole = core_seconds(made, ["ablation_global"]), core_seconds(made)
    assert 0 < part["train"] < whole["train"] and part["observe"] < whole["observe"]
    assert core_seconds(made, made.shown) == whole
    said = sentence(made, 2, "ablation_global", ["ablation_global"])
    assert said.startswith(f"estimate of ablation_global, if nothing of it is made yet: {minutes(sum(part.values()))}")
    assert sentence(made, 2, "assets", []).startswith("estimate: none, since no group of runs is requested")


def test_the_start_says_how_much_the_target_takes_that_was_asked_for(bare_project):
    said = bare_project.run("ablation_global", "-n")
    assert "target ablation_global consists of 2 runs, 2 observations, a table" in said
    assert "estimate of ablation_global, if nothing of it is made yet: " in said
    whole = bare_project.run("-n")
    assert "target all consists of " in whole and "estimate of all, if nothing of it is made yet: " in whole
    assert "consists of" not in bare_project.run("estimate", "-n")


def test_the_sentence_divides_by_the_cores_and_admits_what_is_unknown(root, one_group):
    made = plan(root, **one_group)
    total = sum(core_seconds(made).values())
    assert f"{minutes(total)} of one core" in sentence(made, 2)
    assert sentence(made, 2).endswith(f"about {minutes(total / 2)} on 2 cores")
    assert sentence(made, 1).endswith(f"about {minutes(total)} on 1 core")
    assert "names no seconds" in sentence(plan(root, seconds=None, **one_group), 2)
    assert (minutes(20), minutes(600), minutes(7200)) == ("1 minute", "10 minutes", "2.0 hours")
