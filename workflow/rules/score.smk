# Compute scores from observations: one job per group, without a device; then join all groups in one file.

from nada.run.spec.base import as_json
from workflow.plan.inputs import group_inputs
from workflow.plan.specs import group_spec, staged
from workflow.plan.stages import code


rule group_spec:
    input:
        lambda w: outdated(f"{RESULTS}/scores/{w.group}.json", group_spec(PLAN, w.group)),
    output:
        f"{RESULTS}/scores/{{group}}.json",
    params:
        content=lambda w: staged(as_json(group_spec(PLAN, w.group))),
    threads: 1
    shell:
        "cp {params.content:q} {output:q}"


rule score:
    input:
        lambda w: group_inputs(PLAN, w.group),
        spec=f"{RESULTS}/scores/{{group}}.json",
    output:
        f"{RESULTS}/scores/{{group}}.csv",
    log:
        f"{RESULTS}/logs/scores/{{group}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{group}}.tsv"
    params:
        code=code("score"),
    threads: 1
    shell:
        "{PYTHON:q} -m eval.score --spec {input.spec:q} --out {output:q} > {log:q} 2>&1"


rule scores:
    input:
        expand(f"{RESULTS}/scores/{{group}}.csv", group=PLAN.shown),
    output:
        f"{RESULTS}/scores.csv",
    threads: 1
    shell:
        # Keep one header; a run in two groups has equal rows in both, and is kept once.
        "cat {input:q} | awk '!seen[$0]++' > {output:q}"
