# From the world's weights to one adapted model per run. Settings files are written by the shell,
# since starting Python costs more than the file.

from workflow.inputs import adapt_inputs, parent_argument, reference_arguments, reference_inputs
from workflow.job_files import as_json, run_file
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
        content=lambda w: as_json(run_file(PLAN, PLAN.run(w.task, w.setting, w.seed))),
    threads: 1
    shell:
        "printf '%s\\n' {params.content:q} > {output}"


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
        "{PYTHON} -m {params.module} {params.images} --out {output} > {log} 2>&1"


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
        "{LEASE} {PYTHON} -m baselines.adapt --settings {input.settings} --out {params.out}"
        " --state {RESULTS}/state --code {params.code} {params.parent} > {log} 2>&1"
