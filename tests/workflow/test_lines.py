"""A target as plain shell lines: what Snakemake would run, without Snakemake."""

import json
import os
import subprocess
import sys

import pytest

from workflow import lines
from workflow.lines import read_jobs, script

# In no order that works: a dry run has none.
DRY_RUN = """\
Building DAG of jobs...

[Wed Nov 25 22:29:01 2026]
rule adapt:
    input: r/seed0/spec.json
    output: r/seed0/model.safetensors, r/seed0/run.json (touched)
    log: logs/seed0.log
    jobid: 5
Shell command: python -m baselines.adapt > logs/seed0.log 2>&1

[Wed Nov 25 22:29:01 2026]
localrule hyperparameters:
    output: r/seed0/spec.json
    jobid: 16
    wildcards: task=a, condition=b, seed=0
Shell command: printf '%s\\n' '{
  "world": "mini",

  "output: no": 1
}' > r/seed0/spec.json

[Wed Nov 25 22:29:01 2026]
localrule all:
    input: r/seed0/model.safetensors
    jobid: 0
Shell command: None
Job stats:
job           count
"""


def test_jobs_are_read_with_their_files_and_commands_of_several_lines():
    hparams, adapt = read_jobs(DRY_RUN)
    assert hparams[:3] == ("hyperparameters", [], ["r/seed0/spec.json"])
    assert hparams.shell.startswith("printf") and hparams.shell.endswith("seed0/spec.json")
    assert json.loads(hparams.shell.split("'")[3])["world"] == "mini"
    assert adapt == (
        "adapt",
        ["r/seed0/spec.json"],
        ["r/seed0/model.safetensors", "r/seed0/run.json", "logs/seed0.log"],
        "python -m baselines.adapt > logs/seed0.log 2>&1",
    )
    assert read_jobs("Building DAG of jobs...\nNothing to be done.\n") == []


def test_the_script_of_a_run_makes_it_without_snakemake(root, tmp_path):
    results = tmp_path / "a b's"
    run = results / "runs/dog2cat/source-unchanged/seed0"
    text = script([f"{run}/model.safetensors"], ["preset=smoke", f"results={results}"])
    assert "snakemake" not in text and text.count("\n# ") == 2  # hyperparameters and adapt
    (tmp_path / "run.sh").write_text(text)
    environ = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["bash", tmp_path / "run.sh"], cwd=root, env=environ, check=True)
    assert json.loads((run / "run.json").read_text())["run"] == "dog2cat/source-unchanged/seed0"


def test_the_report_is_left_out_since_snakemake_makes_it():
    job = lines.Job("provenance", [], ["r/provenance.html"], f"cp a b && {sys.executable} -m snakemake pages")
    assert lines.lines(job) == "\n# provenance: left out, since it needs Snakemake\n"


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [(2, "Using profiles/default\nerror: there is no target 'nope'; known: all.\n", "error: there is no target 'nope'; known: all."),
     (1, "MissingRuleException: nope", "no plan for nope: Missing"), (0, "", "nothing to do")],
)
def test_what_snakemake_cannot_plan_or_need_not_make_is_a_sentence(
    monkeypatch, capsys, code, said, message
):
    done = subprocess.CompletedProcess([], code, stdout=said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert lines.main(["nope"]) == 2
    assert message in capsys.readouterr().err
