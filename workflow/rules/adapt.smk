# Train one adapted model per run. Planning stores the text of a spec under its hash
# (workflow/plan/specs.py); the rule only copies it, since starting Python takes longer.

from nada.run.spec.base import as_json
from workflow.plan.inputs import adapt_inputs, parent_argument, reference_arguments, reference_inputs
from workflow.plan.layout import run_folder
from workflow.plan.specs import run_spec, staged
from workflow.plan.stages import code

RUN = f"{RESULTS}/runs/{{task}}/{{condition}}/seed{{seed}}"
ADAPT_CODE = {name: code("adapt", name) for name in PLAN.config["methods"]}


rule run_spec:
    input:
        lambda w: outdated(
            f"{RESULTS}/runs/{w.task}/{w.condition}/seed{w.seed}/spec.json",
            run_spec(PLAN, PLAN.run(w.task, w.condition, w.seed)),
        ),
    output:
        f"{RUN}/spec.json",
    params:
        content=lambda w: staged(as_json(run_spec(PLAN, PLAN.run(w.task, w.condition, w.seed)))),
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
        code=lambda w: code("references", PLAN.world["references"]["domains"][w.domain]["module"]),
        module=lambda w: PLAN.world["references"]["domains"][w.domain]["module"],
        drawn=lambda w: PLAN.world["references"]["domains"][w.domain],
        images=lambda w: reference_arguments(PLAN, w.domain),
    threads: 1
    shell:
        "{PYTHON:q} -m {params.module:q} {params.images} --out {output:q} > {log:q} 2>&1"


rule adapt:
    input:
        unpack(lambda w: adapt_inputs(PLAN, PLAN.run(w.task, w.condition, w.seed))),
        spec=f"{RUN}/spec.json",
    output:
        model=f"{RUN}/model.safetensors",
        snapshots=f"{RUN}/snapshots.safetensors",
        curves=f"{RUN}/curves.csv",
        run=f"{RUN}/run.json",
        cost=f"{RUN}/cost.json",
    log:
        f"{RESULTS}/logs/runs/{{task}}/{{condition}}/seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{task}}/{{condition}}/seed{{seed}}.tsv"
    params:
        code=lambda w: ADAPT_CODE[PLAN.conditions[w.task, w.condition].method],
        out=lambda w: run_folder(PLAN, f"{w.task}/{w.condition}/seed{w.seed}"),
        parent=lambda w: parent_argument(PLAN, PLAN.run(w.task, w.condition, w.seed)),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON:q} -m baselines.adapt --spec {input.spec:q} --out {params.out:q}"
        " --state {RESULTS:q}/state --code {params.code:q} {params.parent} > {log:q} 2>&1"
