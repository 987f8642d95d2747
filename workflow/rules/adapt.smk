# From the world's weights to one adapted model per run. Planning keeps the text of a settings file under its
# hash (workflow/job_files.py) and the rule copies it, since starting Python costs more than the file.

from workflow.inputs import adapt_inputs, parent_argument, reference_arguments, reference_inputs
from workflow.job_files import as_json, run_file, staged
from workflow.layout import run_folder
from workflow.sources import digest

RUN = f"{RESULTS}/runs/{{task}}/{{setting}}/seed{{seed}}"
ADAPT_CODE = {
    name: digest("baselines.adapt", f"baselines.{name}") for name in PLAN.config["methods"]
}


rule settings:
    output:
        f"{RUN}/settings.json",
    params:
        content=lambda w: staged(as_json(run_file(PLAN, PLAN.run(w.task, w.setting, w.seed)))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule references:
    input:
        lambda w: reference_inputs(PLAN, w.domain),
    output:
        f"{RESULTS}/references/{{domain}}.{{kind}}",
    wildcard_constraints:
        kind="npz|json",
    log:
        f"{RESULTS}/logs/references/{{domain}}.{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/references/{{domain}}.{{kind}}.tsv"
    params:
        code=lambda w: digest(PLAN.world["references"]["domains"][w.domain]["module"]),
        module=lambda w: PLAN.world["references"]["domains"][w.domain]["module"],
        drawn=lambda w: PLAN.world["references"]["domains"][w.domain],
        images=lambda w: reference_arguments(PLAN, w.domain),
    threads: 1
    shell:
        "{PYTHON:q} -m {params.module:q} {params.images} --out {output:q} > {log:q} 2>&1"


rule adapt:
    input:
        unpack(lambda w: adapt_inputs(PLAN, PLAN.run(w.task, w.setting, w.seed))),
        settings=f"{RUN}/settings.json",
    output:
        model=f"{RUN}/model.safetensors",
        snapshots=f"{RUN}/snapshots.safetensors",
        curves=f"{RUN}/curves.csv",
        run=f"{RUN}/run.json",
        cost=f"{RUN}/cost.json",
    log:
        f"{RESULTS}/logs/runs/{{task}}/{{setting}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{task}}/{{setting}}/seed{{seed}}.tsv"
    params:
        code=lambda w: ADAPT_CODE[PLAN.settings[w.task, w.setting].method],
        out=lambda w: run_folder(PLAN, f"{w.task}/{w.setting}/seed{w.seed}"),
        parent=lambda w: parent_argument(PLAN, PLAN.run(w.task, w.setting, w.seed)),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON:q} -m baselines.adapt --settings {input.settings:q} --out {params.out:q}"
        " --state {RESULTS:q}/state --code {params.code:q} {params.parent} > {log:q} 2>&1"
