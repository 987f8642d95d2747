"""A target as plain shell lines: what Snakemake would run, without Snakemake."""

import json
import os
import subprocess
import sys

import pytest

from nada.errors import UserError
from workflow import lines
from workflow.lines import read_jobs, script

DRY_RUN = """\
Building DAG of jobs...

[Wed Nov 25 22:29:01 2026]
localrule settings:
    output: r/seed0/settings.json
    jobid: 16
    wildcards: task=a, setting=b, seed=0
Shell command: printf '%s\\n' '{
  "world": "mini",

  "output: no": 1
}' > r/seed0/settings.json

[Wed Nov 25 22:29:01 2026]
rule adapt:
    input: r/seed0/settings.json
    output: r/seed0/model.safetensors, r/seed0/run.json (touched)
    log: logs/seed0.log
    jobid: 5
Shell command: python -m baselines.adapt > logs/seed0.log 2>&1

[Wed Nov 25 22:29:01 2026]
localrule all:
    input: r/seed0/model.safetensors
    jobid: 0
Shell command: None
Job stats:
job           count
"""


def test_jobs_are_read_with_their_files_and_commands_of_several_lines():
    settings, adapt = read_jobs(DRY_RUN)
    assert settings[:2] == ("settings", ["r/seed0/settings.json"])
    assert settings[2].startswith("printf") and settings[2].endswith("> r/seed0/settings.json")
    assert json.loads(settings[2].split("'")[3])["world"] == "mini"
    files = ["r/seed0/model.safetensors", "r/seed0/run.json", "logs/seed0.log"]
    assert adapt == ("adapt", files, "python -m baselines.adapt > logs/seed0.log 2>&1")
    assert read_jobs("Building DAG of jobs...\nNothing to be done.\n") == []


def test_the_script_of_a_run_makes_it_without_snakemake(root, tmp_path):
    results = tmp_path / "results"
    run = results / "runs/dog2cat/source-unchanged/seed0"
    text = script([f"{run}/model.safetensors"], ["preset=smoke", f"results={results}"])
    assert "snakemake" not in text and text.count("\n# ") == 2  # settings and adapt
    (tmp_path / "run.sh").write_text(text)
    environ = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(["bash", tmp_path / "run.sh"], cwd=root, env=environ, check=True)
    assert json.loads((run / "run.json").read_text())["run"] == "dog2cat/source-unchanged/seed0"
    with pytest.raises(UserError, match="nothing to be done"):
        script([f"{run}/model.safetensors"], ["preset=smoke", f"results={results}"])


def test_a_target_without_a_plan_is_told_in_snakemake_s_words(capsys):
    assert lines.main(["no_such_target"]) == 2
    assert "Snakemake has no plan for no_such_target" in capsys.readouterr().err
