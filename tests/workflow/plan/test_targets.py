"""What a target means, in numbers of jobs: nothing when up to date, and never more than it must.

Dry runs of the real workflow in copies with one task, two seeds, the control source, the variants
global, adaptive and mapper in `ablation`, adaptive and all_layers in `k_sweep`, and one few-shot method
from two warm starts in `table1`; in `finished_project` every job has run (with quick jobs).
"""

import re

import pytest

from workflow.plan.plan import RULES

SEEDS = 2
CONDITIONS = 5  # four variants, one of them in both groups, and the control
FEW_SHOT = 3  # the method from two starts, and ten images replayed
PARENTS = 1  # finetune_gd, which no group shows
GROUPS = 3
FIGURES = 10  # losses and training of all groups, chosen layers of the first two, the sweep, the neighbours
SHOWN = CONDITIONS + FEW_SHOT
RUNS = SEEDS * (SHOWN + PARENTS)
PAGES = {"html": 1, "provenance": 1}  # the report, and Snakemake's


def test_all_plans_every_run_observation_score_table_picture_and_the_report(bare_project):
    assert bare_project.planned("all", "--resources", "gpu=1") == {
        "all": 1,
        "run_spec": RUNS,
        "adapt": RUNS,
        "references": 1,
        "observation_spec": SHOWN + 1,  # the real images
        "observe": SHOWN + 1,
        "group_spec": GROUPS,
        "score": GROUPS,
        "scores": 1,
        "table": GROUPS,
        "paper_table": 1,
        "grid": GROUPS,
        "figure": FIGURES,
        "claims": 1,
        "report_spec": 1,
        "html": 1,
        "provenance": 1,
    }


def test_a_variants_target_plans_that_variant_and_its_parents_alone(bare_project):
    planned = bare_project.planned("ablation_mapper")
    assert planned["adapt"] == 2 * SEEDS  # the mapper and its adaptive parent
    assert planned["observe"] == 2  # the mapper and the real images
    assert [planned[rule] for rule in ("ablation_mapper", "score", "table", "grid")] == [1] * 4
    assert planned["figure"] == 2  # its metrics over training and its losses; it chooses no layers itself
    assert "html" not in planned


def test_the_sweep_is_a_target_that_shares_its_runs_with_the_ablation(bare_project):
    assert bare_project.planned("k_sweep")["adapt"] == SEEDS * 3
    both = bare_project.planned("k_sweep", "ablation")
    assert (both["adapt"], both["observe"]) == (SEEDS * CONDITIONS, CONDITIONS + 1)


def test_a_group_that_is_not_shown_is_planned_when_it_is_asked_for(bare_project):
    config = ("--config", "show=[ablation]")
    assert bare_project.planned("all", *config)["table"] == 1
    assert bare_project.planned("k_sweep", *config)["adapt"] == SEEDS * 3


def test_a_group_that_does_not_fit_the_world_hinders_no_other(bare_project, tmp_path):
    task = "tasks: {horse2cat: {role: test, source: horse, text: {source: dog, target: cat}, target_class: cat}}"
    group = "groups: {horses: {like: k_sweep, title: horses, tasks: [horse2cat]}}"
    (tmp_path / "horses.yaml").write_text(f"{task}\n{group}\n")
    planned = bare_project.planned("ablation_global", "--configfile", str(tmp_path / "horses.yaml"))
    assert planned["adapt"] == SEEDS


def test_a_warm_start_plans_the_whole_line_of_its_ancestors(bare_project):
    planned = bare_project.planned("table1_plain")
    assert planned["adapt"] == SEEDS * 5  # two of tgan, finetune_gd, mapper, adaptive
    assert planned["observe"] == 3  # two conditions and the real images


@pytest.mark.parametrize(
    "typed",
    ["--cores 8 --resources gpu=1 all", "--cores 2 -R adapt ablation_adaptive"],
)
def test_the_command_as_typed_plans_its_target(bare_project, snakemake, typed):
    done = snakemake("-n", "-p", *typed.split(), cwd=bare_project.folder, entry=True)  # jobs in full
    assert done.returncode == 0, done.stdout[-2000:]
    target = typed.split()[-1]
    assert re.search(rf"^(local)?rule {target}:", done.stdout, re.MULTILINE)
    assert "world 'mini' (32x32, cpu), preset 'default'" in done.stdout
    assert "gpu=1" not in done.stdout.split("Building DAG", 1)[1]  # a CPU job asks for no card


def test_a_job_on_cuda_asks_for_a_card(bare_project):
    planned = bare_project.run("ablation_global", "-n", "--config", "device=cuda")
    asking = [block for block in planned.split("\n[") if "gpu=1" in block]
    assert len(asking) == SEEDS + 2  # the runs, their observation, and the real images'
    assert all("rule adapt:" in block or "rule observe:" in block for block in asking)


def test_a_finished_project_has_nothing_to_do_after_a_comment_or_a_new_time_stamp(finished_project):
    weights = finished_project.folder / "workflow/worlds/mini/weights/dog.safetensors"
    weights.write_bytes(weights.read_bytes())  # as `git checkout` does: the same bytes, a new time
    with finished_project.edited("nada/training.py", lambda text: "# a comment\n" + text):
        assert finished_project.planned("all", "tables", "figures", "report", "ablation") == {}


def test_the_scheduler_does_not_wake_up_for_jobs_that_have_ended(finished_project):
    """Snakemake's default limit of submissions must be gone when the scheduler exists."""
    assert finished_project.output.count("The default limit of job submissions is lifted.") == 1


def test_forcing_adapt_of_a_variant_retrains_just_its_runs(finished_project):
    planned = finished_project.planned("ablation_adaptive", "-R", "adapt")
    assert planned["adapt"] == SEEDS
    assert planned["observe"] == 1
    assert not {"hyperparameters", "references", "html"} & set(planned)


def test_an_edit_of_the_method_reruns_its_runs_and_what_follows(finished_project):
    with finished_project.edited("nada/training.py", lambda text: text + "\n\nNEW = 1\n"):
        planned = finished_project.planned("all")
    assert planned["adapt"] == RUNS - 3 * SEEDS  # neither the controls nor TGAN import it
    assert planned["observe"] == SHOWN - 3
    twice = [planned[rule] for rule in ("score", "table", "grid")]
    assert (twice, planned["scores"]) == ([GROUPS] * 3, 1)
    assert planned["html"] == planned["provenance"] == 1
    assert planned["figure"] == FIGURES
    assert "references" not in planned


def test_an_edit_of_the_tables_retrains_and_measures_nothing(finished_project):
    with finished_project.edited("eval/tables.py", lambda text: text + "\n\nNEW = 1\n"):
        assert finished_project.planned("all") == {"all": 1, "table": GROUPS, **PAGES}


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("eval/paper/table1.csv", {"paper_table": 1, **PAGES}),
        ("eval/paper/lengths.csv", {"paper_table": 1, "table": GROUPS, **PAGES}),
        ("eval/report/report.css", {"html": 1}),
        pytest.param("workflow/report/table.rst", {"provenance": 1}, marks=pytest.mark.slow),
        pytest.param("claims.yaml", {"claims": 1, **PAGES}, marks=pytest.mark.slow),
    ],
)
def test_an_edit_of_what_a_page_is_made_from_makes_just_that_page_again(
    finished_project, file, again
):
    with finished_project.edited(file, lambda text: text + "\n"):
        assert finished_project.planned("all") == {"all": 1, **again}


def test_an_edit_of_a_figure_draws_just_that_figure_again(finished_project):
    with finished_project.edited("eval/figures/chosen_layers.py", lambda text: text + "\n\nNEW = 1\n"):
        assert finished_project.planned("all") == {"all": 1, "figure": 2, **PAGES}


def test_a_changed_hyperparameter_reruns_the_variants_that_use_it(finished_project):
    change = "methods={nada: {variants: {global: {hyperparameters: {lr: 0.001}}}}}"
    planned = finished_project.planned("all", "--config", change)
    assert planned["run_spec"] == planned["adapt"] == SEEDS
    assert planned["observe"] == 1


def test_other_weights_rerun_every_run_that_opens_them(finished_project):
    weights = "workflow/worlds/mini/weights/dog.safetensors"
    with finished_project.edited(weights, lambda text: text + " "):
        assert finished_project.planned("all")["adapt"] == RUNS - SEEDS  # not the replayed images


def test_snakemakes_report_holds_the_table_and_the_grid(finished_project):
    page = (finished_project.folder / "results/mini/provenance.html").read_text()
    assert "ablation_grid.png" in page
    assert "ablation.csv" in page
    for figure in ("ablation_training_curves.svg", "ablation_chosen_layers.svg", "k_sweep_sweep.svg"):
        assert figure in page


def test_every_rule_that_starts_python_has_one_thread_a_log_and_a_benchmark(root):
    files = [root / "Snakefile", *sorted((root / "workflow/rules").glob("*.smk"))]
    text = "\n".join(file.read_text() for file in files)
    rules = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", text, re.MULTILINE))
    assert set(rules) == set(RULES)
    for name, body in rules.items():
        keys = re.findall(r"^    (\w+):", body, re.MULTILINE)
        assert "run" not in keys, name  # `run:` parses the whole workflow again for each job
        if "shell" in keys:
            assert "    threads: 1\n" in body, name
        if re.search(r"-m (eval|baselines)\.", body):
            assert {"log", "benchmark", "params"} <= set(keys), name
