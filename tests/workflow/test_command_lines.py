"""The command lines of jobs: nothing of unbounded length stands on them, and every word is quoted."""

import json
import re
import string
import subprocess

from nada.run.spec.base import as_json
from workflow.lines import read_jobs, script
from workflow.plan.plan import load_plan
from workflow.plan.specs import STAGED, group_spec, run_spec, staged

LIMIT = 128 * 1024  # bytes of one argument on Linux (MAX_ARG_STRLEN); Snakemake gives bash one
ODD = "a b's $x"  # a folder of results with what a shell would take apart
# Shell text that is quoted where it is made: the lease of a card, and arguments that may be absent.
QUOTED_ALREADY = {"LEASE", "params.parent", "params.images", "params.more"}


def test_with_forty_seeds_every_command_fits_into_an_argument(bare_project):
    seeds = f"seeds={list(range(40))}"
    planned = bare_project.run("ablation", "table1", "k_sweep", "-n", "-p", "--config", seeds)
    jobs = read_jobs(planned)
    assert sum(job.rule == "adapt" for job in jobs) == 40 * 9
    assert max(len(job.shell.encode()) for job in jobs) < LIMIT // 8
    told = group_spec(load_plan(bare_project.folder, {"seeds": list(range(40))}), "ablation")
    assert len(as_json(told)) > LIMIT // 8  # which an argument would soon not hold


def test_the_report_and_the_joined_scores_are_commands_of_bounded_length(bare_project):
    jobs = {job.rule: job for job in read_jobs(bare_project.run("all", "-n", "-p"))}
    assert len(jobs["html"].shell) < 1000 and len(jobs["provenance"].shell) < 1000


def test_a_spec_is_kept_under_its_hash_and_written_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = staged("{}")
    assert (tmp_path / first).read_text() == "{}\n" and first.startswith(STAGED)
    stamp = (tmp_path / first).stat().st_mtime_ns
    assert staged("{}") == first and (tmp_path / first).stat().st_mtime_ns == stamp
    assert staged("[]") != first


def test_a_dry_run_writes_nothing_outside_of_snakemakes_own_folder(bare_project):
    bare_project.run("all", "-n")
    assert STAGED.startswith(".snakemake/")
    assert not (bare_project.folder / "results").exists()


def test_jobs_read_the_specs_of_the_plan(finished_project):
    plan = load_plan(finished_project.folder)
    run = plan.runs["dog2cat/nada-mapper/seed1"]
    found = finished_project.folder / f"{plan.results}/runs/{run.id}/spec.json"
    assert found.read_text() == as_json(run_spec(plan, run)) + "\n"


def test_results_may_lie_in_a_folder_with_blanks_and_quotes(finished_project):
    odd = f"{ODD}/mini"
    finished_project.run("ablation_global", "claims", "--config", f"results={odd}")
    folder = finished_project.folder / odd
    made = ("tables/ablation_global.md", "scores.csv", "figures/ablation_global_grid.png", "claims.md")
    assert all((folder / name).is_file() for name in made)
    assert not (finished_project.folder / "a").exists()
    words = ["ablation_global", "claims", "--config", f"results={odd}"]
    assert finished_project.planned(*words) == {}


def test_every_word_of_a_shell_command_is_quoted(root):
    files = [root / "Snakefile", *sorted((root / "workflow/rules").glob("*.smk"))]
    for file in files:
        for block in re.findall(r"^    shell:\n((?:        .*\n)+)", file.read_text(), re.MULTILINE):
            text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', block))
            for _, name, form, _ in string.Formatter().parse(text):
                assert name is None or name in QUOTED_ALREADY or form == "q", (file.name, name)


def test_plain_lines_hold_the_specs_and_work_without_a_plan(root, tmp_path):
    file = tmp_path / ODD / "runs/dog2cat/source-unchanged/seed0/spec.json"
    text = script([str(file)], ["preset=smoke", f"results={tmp_path / ODD}"])
    assert STAGED not in text
    subprocess.run(["bash", "-c", text], cwd=tmp_path, check=True)
    assert json.loads(file.read_text())["method"] == "source"


def test_an_edited_value_reruns_only_the_jobs_whose_specs_have_it(finished_project):
    change = "methods={nada: {variants: {global: {hyperparameters: {lr: 0.001}}}}}"
    planned = finished_project.planned("all", "--config", change)
    assert (planned["run_spec"], planned["adapt"], planned["observe"]) == (2, 2, 1)
    assert "observation_spec" not in planned and "group_spec" not in planned
