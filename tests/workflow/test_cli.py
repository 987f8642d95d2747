"""The project's `snakemake` entry: targets go first, dotted keys, and one sentence for a mistake."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nada.run.errors import UserError
from tests.workflow.conftest import copy_project
from workflow import cli
from workflow.plan.plan import RULES, TARGETS, load_plan
from workflow.plan.targets import MADE, check_targets, groups_asked

TYPED = {
    "--cores 8 --resources gpu=1 all": "all --cores 8 --resources gpu=1",
    "all --cores 8 --resources gpu=1": "all --cores 8 --resources gpu=1",
    "--resources gpu=1 --cores 8 all": "--resources gpu=1 --cores 8 all",
    "--cores 8 --resources gpu=1 mem_mb=2 all tables": "all tables --cores 8 --resources gpu=1 mem_mb=2",
    "--cores 2 --config preset=smoke seeds=[0] ablation": "ablation --cores 2 --config preset=smoke seeds=[0]",
    "--cores 2 -R adapt ablation_adaptive": "ablation_adaptive --cores 2 -R adapt",
    "--cores 2 -R adapt k_sweep_k_1 departures": "k_sweep_k_1 departures --cores 2 -R adapt",
    "--cores 2 -R adapt image_targets": "image_targets --cores 2 -R adapt",
    "-R adapt ablations": "-R adapt ablations",
    "--cores 2 -R departures": "--cores 2 -R departures",
    "--forcerun adapt observe departures -n": "departures --forcerun adapt observe -n",
    "--rerun-triggers mtime tables": "tables --rerun-triggers mtime",
    "--set-resources adapt:mem_mb=5 all": "all --set-resources adapt:mem_mb=5",
    "ablation_adaptive -R adapt observe": "ablation_adaptive -R adapt observe",
    "--cores 8 --resources gpu=1 -- all": "--cores 8 --resources gpu=1 -- all",
    "-- --resources all": "-- --resources all",
    "--cores 2 all -n": "--cores 2 all -n",
    "--version": "--version",
    "": "",
}


@pytest.fixture(scope="module")
def plan(root):
    return load_plan(root)


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: typed or "nothing")
def test_only_swallowed_targets_move_to_the_front(plan, typed):
    moved, rest = cli.targets_first(typed.split(), plan.targets)
    assert moved + rest == TYPED[typed].split()


def test_the_move_is_said_in_one_line_and_handed_over(monkeypatch, capsys):
    handed = []
    monkeypatch.setattr(cli, "snakemake", handed.append)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--resources", "gpu=1", "all"])
    cli.main()
    assert handed == [["--logger=benchmark", "all", "--resources", "gpu=1"]]
    assert capsys.readouterr().err == "Targets go first: snakemake all --resources gpu=1\n"


def test_without_a_swallowed_target_nothing_is_said(monkeypatch, capsys):
    handed = []
    monkeypatch.setattr(cli, "snakemake", handed.append)
    monkeypatch.setattr(sys, "argv", ["snakemake", "all", "--cores", "2"])
    cli.main()
    assert handed == [["--logger=benchmark", "all", "--cores", "2"]]
    assert sys.argv[1:] == ["all", "--cores", "2"]  # which the Snakefile reads
    assert capsys.readouterr().err == ""


def test_a_logger_that_the_user_names_is_kept():
    assert cli.with_terminal(["all", "--logger", "rich"]) == ["all", "--logger", "rich"]


@pytest.mark.parametrize("option", ["--list", "--list-rules", "--list-target-rules"])
def test_the_list_shows_targets_and_groups_with_their_titles_and_no_job(
    root, plan, option, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "snakemake", lambda _: pytest.fail("Snakemake was started"))
    monkeypatch.setattr(sys, "argv", ["snakemake", option])
    monkeypatch.chdir(root)
    cli.main()
    said = capsys.readouterr().out
    lines = [re.split("  +", line) for line in said.splitlines()]
    assert {line[0] for line in lines if len(line) == 2 and line[0]} == {*TARGETS, *plan.config["groups"]}
    assert ["ablation", plan.groups["ablation"]["title"]] in lines
    assert set(plan.groups) <= set(said.split())
    inner = {*RULES} - {*plan.targets}
    assert not inner & {line[0] for line in lines} and not inner & set(said.split("alone:")[1].split())


def test_the_list_follows_the_configuration_and_names_its_mistakes(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--list", "--config", "world=paper"])
    cli.main()
    assert "\nassets " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["snakemake", "--list", "--config", "preset=smok"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "did you mean 'smoke'?" in capsys.readouterr().err


def test_every_target_has_its_line_in_the_list():
    assert set(MADE) == {*TARGETS, "assets"}


def test_the_targets_are_those_of_the_plan_that_the_command_line_configures(tmp_path):
    (tmp_path / "mine.yaml").write_text("groups: {mine: {like: ablation}}")
    assert "mine_adaptive" in cli.targets_of(["--configfile", str(tmp_path / "mine.yaml"), "-R", "adapt"])
    assert "table3" in cli.targets_of(["--config", "world=paper"])
    assert "table3" not in cli.targets_of([])
    assert "all" in cli.targets_of(["--config", "preset=smok"])  # which the start of Snakemake reports


DOTTED = {
    "--config methods.nada.hyperparameters.lr=0.1": [
        "--config", 'methods={"nada": {"hyperparameters": {"lr": "0.1"}}}'
    ],
    "--config evaluation.batch=5 seeds=[0] evaluation.k_medoids=3 -n": [
        "--config", 'evaluation={"batch": "5", "k_medoids": "3"}', "seeds=[0]", "-n"
    ],
    "--config evaluation={batch:_5} evaluation.k_medoids=3": [
        "--config", 'evaluation={"batch": "5", "k_medoids": "3"}'
    ],
    "--config groups.ablation.tasks=[dog2cat]": [
        "--config", 'groups={"ablation": {"tasks": ["dog2cat"]}}'
    ],
    "--config results=a.b/c": ["--config", "results=a.b/c"],
    "--config preset=smoke": ["--config", "preset=smoke"],
}  # fmt: skip


@pytest.mark.parametrize("typed", DOTTED)
def test_a_dotted_key_changes_one_value_of_a_mapping(typed):
    words = [word.replace("_5", " 5") for word in typed.split()]
    assert cli.nested(words) == DOTTED[typed]


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("methods.nada.hyperparameters=3 methods.nada.hyperparameters.lr=1", "methods.nada.hyperparameters"),
        ("methods.nada.hyperparameters.lr=1 methods.nada.hyperparameters=3", "methods.nada.hyperparameters"),
        ("evaluation=5 evaluation.batch=3", "evaluation"),
        ("methods={nada:3} methods.nada.hyperparameters.lr=1", "methods.nada"),
    ],
)
def test_a_value_and_keys_below_it_are_refused_together(typed, key):
    typed = typed.replace(":3", ": 3").replace("} ", "}\n").split("\n") if "{" in typed else typed.split()
    with pytest.raises(UserError, match=f"--config: {re.escape(key)} has a value, and keys below it have others"):
        cli.nested(["--config", *typed])


def test_a_dotted_key_reaches_the_plan_as_the_number_that_the_schema_wants(root):
    _, told = cli.nested(["--config", "methods.nada.hyperparameters.lr=0.1"])
    changed = load_plan(root, cli.parse_config([told]))
    before = load_plan(root).config["methods"]["nada"]["hyperparameters"]
    assert changed.config["methods"]["nada"]["hyperparameters"] == {**before, "lr": 0.1}


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("-n table1 --cores 1 --resources gpu=1 all", "-n all table1 --cores 1 --resources gpu=1"),
        ("-n --cores all table1 --resources gpu=1 all", "-n --cores all all table1 --resources gpu=1"),
        ("table1 -n --resources gpu=1 all", "all table1 -n --resources gpu=1"),
    ],
)
def test_a_moved_target_stands_beside_those_that_were_in_place(typed, understood):
    assert cli.understood(typed.split()) == understood.split()


MISTAKES = {
    ("--cores", "two", "all"): "must be integer or 'all'",
    ("--confgi", "preset=smoke"): "unrecognized arguments: --confgi; did you mean '--config'",
    ("--configfile", "nope.yaml", "-n"): "no file 'nope.yaml'",
    ("--config", "preset = smoke"): "write preset=smoke without blanks",
    ("--config", "preset", "=", "smoke"): "write preset=smoke without blanks",
    ("--config", "preset=", "smoke"): "write preset=smoke without blanks",
    ("--config", "preset", "=smoke"): "write preset=smoke without blanks",
    ("--config", "methods..lr=1"): "'methods..lr' is not a key",
    ("--config", "methods.nada.hyperparameters.betas=[0.9", "-n"): "'[0.9' of methods.nada.hyperparameters.betas is not valid YAML",
    ("--config", "tasks={a: [", "tasks.dog2cat.role=test"): "'{a: [' of tasks is not valid YAML",
    ("--config", "results=#x"): "'#x' of results is not valid YAML; close its brackets, or quote it",
    ("--configfile", "README.md", "-n"): "README.md is not a mapping of keys to values in YAML or JSON",
    ("--resources", "gpu=x", "all"): "gpu is 'x'; give a number",
}


@pytest.mark.parametrize("typed", MISTAKES, ids=" ".join)
def test_a_mistake_on_the_command_line_is_one_sentence_and_exit_code_two(monkeypatch, capsys, typed):
    monkeypatch.setattr(cli, "snakemake", lambda _: pytest.fail("Snakemake was started"))
    monkeypatch.setattr(sys, "argv", ["snakemake", *typed])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert [line for line in said if not line.startswith("Targets go first")] == said[-1:]
    assert said[-1].startswith("error: ") and MISTAKES[typed] in said[-1]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("ablaton", "error: there is no target 'ablaton'; did you mean 'ablation'?"),
        ("--cores 8 --resources gpu=1 ablation_adaptve", "did you mean 'ablation_adaptive'?"),
        ("--cores 0 all", "error: --cores is 0, so no job can start; give 1 or more, or all."),
        ("--config methods.nada.lr=0.1", "unknown key 'lr' in 'methods.nada'; known: hyperparameters, variants."),
        ("--config preset=smok", "did you mean 'smoke'?"),
    ],
)
def test_what_the_plan_does_not_have_is_one_sentence_and_no_traceback(root, snakemake, typed, sentence):
    done = snakemake("-n", *typed.split(), cwd=root, entry=True)
    said = [line for line in done.stdout.splitlines() if not line.startswith(("Targets go", "Using work"))]
    assert done.returncode == 2, done.stdout
    assert len(said) == 1 and said[0].endswith(sentence)


def test_paths_rules_and_files_are_left_to_snakemake(root, plan, monkeypatch):
    monkeypatch.chdir(root)
    check_targets(plan, ["results/mini/scores/none.csv", "scores", "config.yaml", "all", "ablation_global"])
    with pytest.raises(UserError, match="did you mean 'tables'"):
        check_targets(plan, ["tabels"])


def test_a_misspelt_table_or_figure_gets_the_nearest_one(plan):
    tables = "results/mini/tables"
    check_targets(plan, [f"{tables}/ablation.tex", f"{tables}/table1_paper_cost.csv"])
    check_targets(plan, ["results/mini/figures/ablation_grid.csv"])
    with pytest.raises(UserError, match=f"no job makes '{tables}/ablaton.md'; did you mean '{tables}/ablation.md'"):
        check_targets(plan, [f"{tables}/ablaton.md"])


@pytest.mark.parametrize("path", ["foo/bar.txt", "bar.txt", "./results/bar.csv", "/nowhere/results/mini/scores.csv"])
def test_a_path_that_no_job_writes_below_is_refused(plan, path):
    with pytest.raises(UserError, match=f"no job makes '{re.escape(path)}'; results are written under results/mini"):
        check_targets(plan, [path])


@pytest.mark.parametrize("path", ["./results/mini/scores.csv", "results/world_build/dog.safetensors"])
def test_a_path_below_a_folder_that_jobs_write_is_not_refused(plan, path):
    check_targets(plan, [path])


def test_a_target_takes_the_runs_of_its_groups(plan):
    assert groups_asked(plan, []) == groups_asked(plan, ["report"]) == plan.shown
    assert groups_asked(plan, ["ablation", "k_sweep_k_1"]) == ["ablation", "k_sweep_k_1"]
    assert groups_asked(plan, ["pretrain_world"]) == []


def test_all_and_a_group_that_is_not_shown_take_the_runs_of_both(root):
    plan = load_plan(root, {"show": ["ablation"]})
    assert groups_asked(plan, ["all", "bias"]) == ["ablation", "bias"]


def last_line(command, cwd):
    """The last line that a command prints; it must end with exit code 2 and no traceback."""
    done = subprocess.run(
        command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stdout, done.stdout
    return done.stdout.splitlines()[-1]


def test_the_console_entry_of_one_clone_does_not_plan_for_another(root, tmp_path):
    """An environment knows one clone; its entry would load that one's packages for another's rules."""
    clone = copy_project(root, tmp_path / "clone")
    said = last_line([Path(sys.executable).with_name("snakemake"), "-n", "all"], clone)
    assert said.startswith("error: this environment loads the packages of ")
    assert f"those of the clone {clone.resolve()}; make an environment for this clone" in said


def test_jobs_do_not_run_in_one_clone_what_the_snakefile_of_another_plans(root, tmp_path):
    clone = copy_project(root, tmp_path / "clone")
    module = [sys.executable, "-m", "snakemake", "-n", "all"]
    said = last_line([*module, "-s", clone / "Snakefile"], root)
    assert said.startswith(f"error: jobs would run in {root}, ")
    assert said.endswith(f"start snakemake in {clone.resolve()}.")


def test_the_entry_itself_refuses_another_clone(root, tmp_path, monkeypatch):
    clone = copy_project(root, tmp_path / "clone")
    with pytest.raises(UserError, match="this environment loads the packages of"):
        cli.refuse_another_clone(["-s", str(clone / "Snakefile")])
    monkeypatch.chdir(clone)
    with pytest.raises(UserError, match="this environment loads the packages of"):
        cli.refuse_another_clone([])
    monkeypatch.chdir(root)
    cli.refuse_another_clone(["all", "-n"])
