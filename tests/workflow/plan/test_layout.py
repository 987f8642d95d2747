"""Where files lie: the figures that a group ends in, and what the files of figures declare."""

import subprocess
import sys

import pytest

from workflow.plan.checking import ConfigError
from workflow.plan.figure_kinds import figure_kinds, kinds
from workflow.plan.inputs import figure_inputs
from workflow.plan.layout import figures
from workflow.plan.plan import load_plan


def test_a_group_ends_in_the_figures_that_it_has_something_for(default):
    def kinds(group):
        return [figure.split(f"{group}_", 1)[1] for figure in figures(default, group)]

    assert kinds("ablation") == ["grid.png", "losses.svg", "training_curves.svg", "chosen_layers.svg"]
    assert kinds("k_sweep") == ["grid.png", "losses.svg", "training_curves.svg", "chosen_layers.svg", "sweep.svg"]
    assert kinds("ablation_global") == ["grid.png", "losses.svg", "training_curves.svg"]
    assert kinds("k_sweep_k_1") == ["grid.png", "losses.svg", "training_curves.svg", "chosen_layers.svg"]


def test_a_group_of_controls_has_no_training_to_draw(root):
    row = {"methods": ["replay"], "variants": ["images"], "shots": [10], "warm_starts": ["source"]}
    change = {"rows": [row], "paper": None, "controls": ["source"]}
    plan = load_plan(root, {"groups": {"table1": change}})
    assert [figure.rsplit("/", 1)[1] for figure in figures(plan, "table1")] == ["table1_grid.png"]


def test_a_group_has_the_figures_that_it_lists_beside_its_usual_ones(root):
    plan = load_plan(root, {"groups": {"ablation": {"figures": ["neighbours"]}}})
    made = [figure.rpartition("/")[2] for figure in figures(plan, "ablation")]
    assert made == [f"ablation_{kind}" for kind in (
        "grid.png", "losses.svg", "training_curves.svg", "chosen_layers.svg", "neighbours.svg"
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
    (tmp_path / "dots.py").write_text("FIGURE = Figure(")
    with pytest.raises(ConfigError, match=r"eval/figures/dots.py, line 1: Python cannot read it"):
        figure_kinds(tmp_path)
    (tmp_path / "dots.py").write_text("FIGURE: Figure = Figure()\n")
    assert list(figure_kinds(tmp_path)) == ["dots"]


def test_a_file_that_is_listed_but_declares_no_figure_is_told_to(root):
    with pytest.raises(ConfigError, match=r"^eval/figures/palette.py has no FIGURE = Figure\(…\); add it"):
        load_plan(root, {"groups": {"ablation": {"figures": ["palette"]}}})


@pytest.mark.slow
@pytest.mark.parametrize("declaration", ["FIGURE = Figure(when='always')", "FIGURE = Figure("])
def test_a_wrong_declaration_stops_every_command_with_one_sentence(bare_project, declaration):
    with bare_project.edited("eval/figures/sweep.py", lambda text: text + f"\n{declaration}\n"):
        done = bare_project.snakemake("-n", "all", cwd=bare_project.folder)
        lines = [sys.executable, "-m", "workflow.lines", "all"]
        other = subprocess.run(lines, cwd=bare_project.folder, capture_output=True, text=True, check=False)
    for code, text in ((done.returncode, done.stdout), (other.returncode, other.stderr)):
        assert (code, text.count("error: eval/figures/sweep.py")) == (2, 1), text
        assert "Traceback" not in text


def test_every_figure_has_a_caption_and_the_inputs_that_it_declares(default):
    assert all(len(figure.caption) > 40 for figure in kinds().values())
    for kind, figure in kinds().items():
        inputs = set(figure_inputs(default, "ablation", kind))
        images = {"references"} if "observations" in figure.reads else set()
        assert inputs == {"scores", *figure.reads, *images} - {"answers"}
