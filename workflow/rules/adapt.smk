# From the world's weights to one adapted model per run. Settings files are written by the shell,
# since starting Python costs more than the file.

RUN = f"{RESULTS}/runs/{{task}}/{{setting}}/seed{{seed}}"
ADAPT_CODE = {
    name: digest("baselines.adapt", f"baselines.{name}") for name in PLAN.config["methods"]
}


rule settings:
    output:
        f"{RUN}/settings.json",
    params:
        content=lambda w: as_json(PLAN.run_file(PLAN.run(w.task, w.setting, w.seed))),
    threads: 1
    shell:
        "printf '%s\\n' {params.content:q} > {output}"


rule references:
    input:
        lambda w: PLAN.reference_inputs(w.domain),
    output:
        f"{RESULTS}/references/{{domain}}.{{kind}}",
    wildcard_constraints:
        kind="npz|json",
    log:
        f"{RESULTS}/logs/references/{{domain}}.{{kind}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/references/{{domain}}.{{kind}}.tsv"
    params:
        code=digest(PLAN.world["references"]["module"]),
        module=PLAN.world["references"]["module"],
        drawn=lambda w: PLAN.world["references"]["domains"][w.domain],
        images=lambda w: PLAN.reference_arguments(w.domain),
    threads: 1
    shell:
        "{PYTHON} -m {params.module} {params.images} --out {output} > {log} 2>&1"


rule adapt:
    input:
        unpack(lambda w: PLAN.adapt_inputs(PLAN.run(w.task, w.setting, w.seed))),
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
        out=lambda w: PLAN.folder(f"{w.task}/{w.setting}/seed{w.seed}"),
        parent=lambda w: PLAN.parent_argument(PLAN.run(w.task, w.setting, w.seed)),
    threads: 1
    resources:
        **GPU,
    shell:
        "{LEASE} {PYTHON} -m baselines.adapt --settings {input.settings} --out {params.out}"
        " --state {RESULTS}/state --code {params.code} {params.parent} > {log} 2>&1"
