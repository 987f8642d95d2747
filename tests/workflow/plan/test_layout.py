"""Where files lie: the figures that a group ends in."""

from workflow.plan.layout import figures
from workflow.plan.plan import load_plan


def test_a_group_ends_in_the_figures_that_it_has_something_for(default):
    def kinds(group):
        return [figure.split(f"{group}_", 1)[1] for figure in figures(default, group)]

    assert kinds("ablation") == ["grid.png", "training_curves.svg", "chosen_layers.svg"]
    assert kinds("k_sweep") == ["grid.png", "training_curves.svg", "chosen_layers.svg", "sweep.svg"]
    assert kinds("ablation_global") == ["grid.png", "training_curves.svg"]
    assert kinds("k_sweep_k_1") == ["grid.png", "training_curves.svg", "chosen_layers.svg"]


def test_a_group_of_controls_has_no_training_to_draw(root):
    row = {"methods": ["replay"], "variants": ["images"], "shots": [10], "warm_starts": ["source"]}
    change = {"rows": [row], "paper": None, "controls": ["source"]}
    plan = load_plan(root, {"groups": {"table1": change}})
    assert [figure.rsplit("/", 1)[1] for figure in figures(plan, "table1")] == ["table1_grid.png"]
