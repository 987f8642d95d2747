"""Where files lie: the figures that a group ends in, and what the files of figures declare."""

import pytest

from workflow.plan.checking import ConfigError
from workflow.plan.figure_kinds import FIGURES, figure_kinds
from workflow.plan.inputs import figure_inputs
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


def test_a_group_has_the_figures_that_it_lists_beside_its_usual_ones(root):
    plan = load_plan(root, {"groups": {"ablation": {"figures": ["neighbours"]}}})
    made = [figure.rpartition("/")[2] for figure in figures(plan, "ablation")]
    assert made == [f"ablation_{kind}" for kind in (
        "grid.png", "training_curves.svg", "chosen_layers.svg", "neighbours.svg"
    )]  # fmt: skip
    with pytest.raises(ConfigError, match=r"'groups.ablation.figures'.*did you mean 'neighbours'"):
        load_plan(root, {"groups": {"ablation": {"figures": ["neighbour"]}}})


def test_a_new_file_is_a_figure_with_its_inputs_and_its_docstring_as_caption(tmp_path):
    text = """'''FID per seed.\n\n    python -m eval.figures.dots --spec …\n'''\nFIGURE = Figure({})\n"""
    (tmp_path / "dots.py").write_text(text.format('reads=("curves",)'))
    (tmp_path / "shared.py").write_text("x = 1\n")
    found = figure_kinds(tmp_path)
    assert list(found) == ["dots"]
    assert (found["dots"].caption, found["dots"].when) == ("FID per seed.", "listed")
    for wrong in ('reads=("pixels",)', 'when="always"', "reads=open", "1"):
        (tmp_path / "dots.py").write_text(text.format(wrong))
        with pytest.raises(ConfigError, match=r"eval/figures/dots.py: FIGURE must give reads"):
            figure_kinds(tmp_path)


def test_every_figure_has_a_caption_and_the_inputs_that_it_declares(default):
    assert all(len(figure.caption) > 40 for figure in FIGURES.values())
    for kind, figure in FIGURES.items():
        inputs = set(figure_inputs(default, "ablation", kind))
        images = {"references"} if "observations" in figure.reads else set()
        assert inputs == {"scores", *figure.reads, *images} - {"answers"}
