"""The folder of results: any folder of its own, and never the code, a tracked folder or a flag."""

import os
import subprocess

import pytest

from nada.run.errors import UserError
from workflow.plan.plan import load_plan
from workflow.plan.results_folder import results_folder

REFUSED = {
    "a line break": ("results/x\n", "a line break"),
    "a line break inside": ("results/x\ny", "a line break"),
    "nothing": ("", "at least|blank|empty"),
    "a blank": (" ", "blank"),
    "blanks around": (" results/x", "blanks around"),
    "the root": ("/", "holds it"),
    "the root twice": ("//", "holds it"),
    "a flag": ("-x", "an option"),
    "a home folder": ("~/x", "home folder"),
    "the project": (".", "project's folder"),
    "the folder above": ("..", "holds it"),
    "a way back": ("results/..", "project's folder"),
    "a file": ("config.yaml", "config.yaml is a file"),
    "a file without an ending": ("Snakefile", "Snakefile is a file"),
    "below a file": ("config.yaml/x", "config.yaml is a file"),
    "code": ("workflow", "files of the project"),
    "fetched weights": ("assets", "files of the project"),
    "below code": ("nada/stylegan2/out", "files of the project"),
    "the published results": ("results/published/mini", "files of the project"),
    "what holds the published results": ("results/", "files of the project"),
    "git's own": (".git/x", "hidden folder"),
    "a wildcard": ("results/{seed}", "meaning in Snakemake"),
    "a list": ("results/a,b", "meaning in Snakemake"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_receive_results_is_refused_with_one_sentence(root, what):
    value, said = REFUSED[what]
    with pytest.raises(UserError, match=said) as caught:
        load_plan(root, {"results": value})
    assert "'results' is" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("results/ok/", "results/ok"),
        ("./2026_11", "2026_11"),
        ("results/a b's $x", "results/a b's $x"),
        ("../beside", "../beside"),
        ("résultats", "résultats"),
    ],
)
def test_every_other_folder_is_taken_as_it_is_written(root, typed, used):
    assert load_plan(root, {"results": typed}).results == used
    assert load_plan(root, {"results": typed}).config["results"] == used


def test_an_absolute_folder_stays_absolute(root, tmp_path):
    assert load_plan(root, {"results": f"{tmp_path}/new"}).results == f"{tmp_path}/new"


def test_a_place_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # what root may do is no test
    with pytest.raises(UserError, match="no folder can be made in"):
        results_folder("results/x", tmp_path)


def test_any_tracked_folder_is_refused_also_one_that_the_project_does_not_know(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("a")
    assert results_folder("notes", tmp_path) == "notes"
    subprocess.run(["git", "-C", str(tmp_path), "add", "notes"], check=True)
    with pytest.raises(UserError, match="files of the project"):
        results_folder("notes", tmp_path)


def test_a_name_that_the_command_line_made_a_number_is_said_to_be_one(root):
    with pytest.raises(UserError, match=r"'results' was read as 202611, .*results/2026_11"):
        load_plan(root, {"results": 202611})


@pytest.mark.parametrize("key", ["tasks", "groups", "methods", "warm_starts"])
def test_no_name_ends_in_a_line_break(root, key):
    entry = next(iter(load_plan(root).config[key].values()))
    with pytest.raises(UserError, match=r"x\\n"):
        load_plan(root, {key: {"x\n": entry}})


def test_no_choice_of_a_method_ends_in_a_line_break(root):
    layers = {"policy": "manual", "manual": "texture\n"}
    with pytest.raises(UserError, match=r"texture\\n"):
        load_plan(root, {"methods": {"nada": {"hyperparameters": {"layers": layers}}}})
